// What stays on this device and is never sent: the name to write under, and drafts.

const NAME_KEY = 'backscroll-user';
const DRAFT_KEY = 'backscroll-draft:';
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

/** What was being written in a channel. */
export function draftOf(user: string, channel: string): string {
  return read(keyOfDraft(user, channel)) ?? '';
}

/** Keeps what is being written in a channel. */
export function keepDraft(user: string, channel: string, text: string): void {
  write(keyOfDraft(user, channel), text);
}

const keyOfDraft = (user: string, channel: string): string => DRAFT_KEY + JSON.stringify([user, channel]);

// A browser may forbid storage: then a name and drafts last as long as the page.
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
