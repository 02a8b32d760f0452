// What stays on this device and is never sent: the name to write under.

const NAME_KEY = 'backscroll-user';
const NAME_BYTES_MAX = 255;

/** The name messages are sent under: the one asked for in the URL (`?user=`), else the one chosen here. */
export function userName(): string {
  const asked = new URLSearchParams(location.search).get('user');
  if (asked && isName(asked)) return asked;
  const known = read(NAME_KEY);
  if (known && isName(known)) return known;
  const made = `guest-${Math.floor(1_000 + Math.random() * 9_000)}`;
  write(NAME_KEY, made);
  return made;
}

/** Keeps a name; a name in the URL gives way to it. */
export function keepUserName(name: string): void {
  write(NAME_KEY, name);
  const url = new URL(location.href);
  if (!url.searchParams.has('user')) return;
  url.searchParams.delete('user');
  history.replaceState(history.state, '', url);
}

/** Whether the relay would take this name: 1-255 bytes. */
export function isName(name: string): boolean {
  const bytes = new TextEncoder().encode(name).length;
  return bytes >= 1 && bytes <= NAME_BYTES_MAX;
}

// A browser may forbid storage: then a name lasts as long as the page.
function read(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

function write(key: string, value: string): void {
  try {
    if (value === '') localStorage.removeItem(key);
    else localStorage.setItem(key, value);
  } catch {
    // Nothing to do: see above.
  }
}
