// The name this browser writes under: kept for the next visit, made up on the first.

const KEY = 'backscroll-user';

export function userName(): string {
  const asked = new URLSearchParams(location.search).get('user');
  const name = asked ?? localStorage.getItem(KEY) ?? `guest-${Math.floor(Math.random() * 10_000)}`;
  localStorage.setItem(KEY, name);
  return name;
}
