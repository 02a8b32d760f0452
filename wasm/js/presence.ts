/**
 * Who has a channel open and who is writing. Nothing of it is kept.
 *
 * A client tells when it comes to a channel and when it leaves. Who hears of a newcomer answers, unless
 * there is a crowd. After that it is told again only while somebody looks, which is told along.
 */

import { Cell } from './store.js';
import type { Presence } from './types.js';

/** What was told is believed this long, in ms. */
const ONLINE_MS = 30_000;
/** How often it is told again while somebody looks, in ms. */
const AGAIN_MS = 20_000;
/** How often it is told that somebody is still writing, at most, in ms. */
const TYPING_AGAIN_MS = 10_000;
/** Who is not heard of for this long writes no more, in ms: one time to tell it, and some way. */
const TYPING_MS = 12_000;
/** Answers to newcomers, together, take this long, in ms. */
const ANSWER_MS = 50;
/** Newcomers get no answers where this many are: all of them at once would be a flood. */
const CROWD = 50;
/** Most users that are remembered. */
const USERS_MAX = 1_000;

/** What clients tell each other, as JSON. */
interface Told {
  readonly online: boolean;
  readonly typing: boolean;
  /** Whether the sender wants to hear of others from now on. */
  readonly looking: boolean;
}

interface Heard {
  readonly presence: Presence;
  readonly onlineUntil: number;
  readonly typingUntil: number;
  readonly lookingUntil: number;
}

/** What presence needs of its channel. */
export interface PresenceHost {
  readonly user: string;
  /** Tells who has the channel open; dropped without a connection. */
  say(text: string): void;
}

export class PresenceStore {
  readonly #host: PresenceHost;
  readonly #cell = new Cell<ReadonlyMap<string, Presence>>(new Map(), (used) => { this.#look(used); });
  readonly getSnapshot = this.#cell.getSnapshot;
  readonly subscribe = this.#cell.subscribe;
  readonly #heard = new Map<string, Heard>();
  #isLive = false;
  #isLooking = false;
  /** Until when this user counts as writing, by the steady clock. */
  #typingUntil = 0;
  #toldTypingAt = -Infinity;
  #toldAt = -Infinity;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #timerAt = Infinity;
  #answerAt = Infinity;

  constructor(host: PresenceHost) {
    this.#host = host;
  }

  readonly typing = (on = true): void => {
    const now = performance.now();
    const was = this.#typingUntil > now;
    this.#typingUntil = on ? now + TYPING_MS : 0;
    if (on ? now - this.#toldTypingAt >= TYPING_AGAIN_MS : was) this.#tell();
  };

  /** The channel came to be open at the relay, or is no more. */
  live(isLive: boolean): void {
    if (isLive === this.#isLive) return;
    this.#isLive = isLive;
    if (isLive) {
      this.#tell();
      return;
    }
    // Nothing is known of anybody until the connection is back.
    this.#heard.clear();
    this.#toldTypingAt = -Infinity;
    this.#show();
    this.#plan();
  }

  /** Something came from a user that may be of ours. */
  hear(user: string, text: string): void {
    const told = read(text);
    if (!told || user === this.#host.user) return;
    const now = performance.now();
    if (!told.online) {
      this.#heard.delete(user);
    } else {
      const isNew = !this.#heard.has(user);
      if (isNew && this.#heard.size >= USERS_MAX) return;
      const isAnswered = isNew && this.#heard.size < CROWD;
      this.#heard.set(user, {
        presence: { online: true, typing: told.typing },
        onlineUntil: now + ONLINE_MS,
        typingUntil: told.typing ? now + TYPING_MS : 0,
        lookingUntil: told.looking ? now + ONLINE_MS : 0,
      });
      if (isAnswered) this.#answerAt = Math.min(this.#answerAt, now + ANSWER_MS);
    }
    this.#show();
    this.#plan();
  }

  /** The channel is closed. */
  leave(): void {
    if (this.#isLive) this.#host.say(JSON.stringify({ online: false, typing: false, looking: false } satisfies Told));
    this.#isLive = false;
    this.#heard.clear();
    clearTimeout(this.#timer);
  }

  #look(used: boolean): void {
    this.#isLooking = used;
    if (used) this.#answerAt = performance.now();
    this.#plan();
  }

  #tell(): void {
    const now = performance.now();
    this.#answerAt = Infinity;
    if (this.#isLive) {
      const typing = this.#typingUntil > now;
      this.#toldAt = now;
      this.#toldTypingAt = typing ? now : -Infinity;
      this.#host.say(JSON.stringify({ online: true, typing, looking: this.#isLooking } satisfies Told));
    }
    this.#plan();
  }

  /** Shows who is there, if that changed. */
  #show(): void {
    const before = this.#cell.getSnapshot();
    const same = before.size === this.#heard.size
      && [...this.#heard].every(([user, { presence: { typing } }]) => before.get(user)?.typing === typing);
    if (!same) this.#cell.set(new Map([...this.#heard].map(([user, { presence }]) => [user, presence])));
  }

  #expire(): void {
    const now = performance.now();
    for (const [user, heard] of this.#heard) {
      if (heard.onlineUntil <= now) this.#heard.delete(user);
      else if (heard.presence.typing && heard.typingUntil <= now) {
        this.#heard.set(user, { ...heard, presence: { online: true, typing: false } });
      }
    }
    this.#show();
  }

  /** When to tell next, by the steady clock. */
  #due(now: number): number {
    if (!this.#isLive) return Infinity;
    const isSought = this.#isLooking || [...this.#heard.values()].some(({ lookingUntil }) => lookingUntil > now);
    return isSought ? Math.min(this.#answerAt, this.#toldAt + AGAIN_MS) : this.#answerAt;
  }

  /** Arranges for the next thing that time brings. */
  #plan(): void {
    let at = this.#due(performance.now());
    for (const { presence, onlineUntil, typingUntil } of this.#heard.values()) {
      at = Math.min(at, presence.typing ? typingUntil : onlineUntil);
    }
    if (at === this.#timerAt) return;
    clearTimeout(this.#timer);
    this.#timerAt = at;
    if (at === Infinity) return;
    this.#timer = setTimeout(() => { this.#run(); }, Math.max(0, Math.ceil(at - performance.now())));
  }

  #run(): void {
    this.#timerAt = Infinity;
    this.#expire();
    const now = performance.now();
    if (this.#due(now) <= now) this.#tell();
    else this.#plan();
  }
}

/** What a client of this package told, if it is that. */
function read(text: string): Told | undefined {
  try {
    const told = JSON.parse(text) as Partial<Told> | null;
    if (typeof told?.online !== 'boolean') return undefined;
    return { online: told.online, typing: told.typing === true, looking: told.looking === true };
  } catch {
    return undefined;
  }
}
