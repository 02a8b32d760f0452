#!/usr/bin/env bash
# Runs a relay behind nginx (or with PROXY=caddy behind Caddy) with a certificate of its own on
# loopback, and shows that pages and WebSockets pass. Needs the proxy (Debian: nginx-light, caddy),
# openssl, curl and a built `backscroll` (BIN).
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
bin=${BIN:-backscroll}
port=${PORT:-8443}
with=${PROXY:-nginx}
work=$(mktemp -d)
relay='' proxy=''
finish() {
  # By the ids of the processes that were started here.
  if [ -n "$proxy" ]; then kill "$proxy" && wait "$proxy" || true; fi
  if [ -n "$relay" ]; then kill "$relay" && wait "$relay" || true; fi
  rm -rf "$work"
}
trap finish EXIT

openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext 'subjectAltName=DNS:localhost' \
  -keyout "$work/key.pem" -out "$work/cert.pem" 2>"$work/openssl.log"

mkfifo "$work/listening"
"$bin" serve --listen 127.0.0.1:0 --data "$work/data" >"$work/listening" 2>"$work/relay.log" &
relay=$!
read -r line <"$work/listening"
address=${line#listening on http://}
echo "relay   $address"

# What is installed, with this run's addresses.
start_nginx() {
  {
    echo "pid $work/nginx.pid; error_log $work/nginx.log; daemon off; worker_processes 1;"
    echo "events {} http { access_log off;"
    for body in client_body proxy fastcgi uwsgi scgi; do echo "${body}_temp_path $work/$body;"; done
    sed -e "s|listen 443 ssl|listen 127.0.0.1:$port ssl|" -e 's|chat.example.org|localhost|' \
      -e "s|/etc/ssl/backscroll|$work|" -e "s|127.0.0.1:8787|$address|" "$here/nginx.conf"
    echo "}"
  } >"$work/nginx.conf"
  nginx -t -q -c "$work/nginx.conf" -e "$work/nginx.log"
  nginx -c "$work/nginx.conf" -e "$work/nginx.log" &
  proxy=$!
}

# A certificate of an authority is what Caddy gets by itself; here it is given one.
start_caddy() {
  {
    echo "{"; echo "admin off"; echo "auto_https disable_redirects"; echo "}"
    sed -e "s|relay:8787|$address|" -e "/{\$SITE}/a tls $work/cert.pem $work/key.pem" "$here/Caddyfile"
  } >"$work/Caddyfile"
  SITE="https://localhost:$port" XDG_DATA_HOME=$work XDG_CONFIG_HOME=$work \
    caddy run --adapter caddyfile --config "$work/Caddyfile" 2>"$work/caddy.log" &
  proxy=$!
}

case $with in
  nginx | caddy) "start_$with" ;;
  *) echo "PROXY is nginx or caddy, not $with" >&2; exit 2 ;;
esac

ask() { curl -sS --retry 20 --retry-connrefused --retry-delay 0 --retry-max-time 20 --cacert "$work/cert.pem" "$@"; }
echo "proxy   $with, https://localhost:$port"
test "$(ask "https://localhost:$port/readyz")" = ready
echo "https   /readyz answers"
ask -o "$work/sent" -H 'content-type: application/json' -d '{"from":"ada","text":"through TLS"}' \
  "https://localhost:$port/api/channels/hello/messages"
ask "https://localhost:$port/api/channels/hello/messages?at=latest&before=1&after=0" | grep -q '"through TLS"'
echo "api     a message is written and read"
for path in /ws /sync; do
  # The handshake alone: 101, and then the relay's silence until curl gives up.
  answer=$(curl -sS -i --http1.1 --max-time 2 --cacert "$work/cert.pem" "https://localhost:$port$path" \
    -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' \
    -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==' -H "Origin: https://localhost:$port" 2>/dev/null | tr -d '\0' | head -n 1) || true
  case $answer in
    *' 101 '*) echo "socket  $path: ${answer%$'\r'}" ;;
    *) echo "socket  $path is refused: $answer" >&2; exit 1 ;;
  esac
done
echo "all of it passes"
