// Times and numbers in the words of the reader's own language and time zone.

const TIME = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const DAY = new Intl.DateTimeFormat(undefined, { weekday: 'short', day: 'numeric', month: 'short', year: 'numeric' });
const LONG_DAY = new Intl.DateTimeFormat(undefined, { weekday: 'long', day: 'numeric', month: 'long', year: 'numeric' });
const FULL = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'medium' });
const NUMBER = new Intl.NumberFormat();
const RANGE = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'long' });

export const timeOf = (ms: number): string => TIME.format(ms);
export const dayOf = (ms: number): string => DAY.format(ms);
export const longDayOf = (ms: number): string => LONG_DAY.format(ms);
export const fullTimeOf = (ms: number): string => FULL.format(ms);
export const numberOf = (count: number): string => NUMBER.format(count);

/** From one day to another; one day if both are on it. */
export const daysOf = (from: number, to: number): string => RANGE.formatRange(from, to);

/** Whether two times are on one day here. */
export function isSameDay(a: number, b: number): boolean {
  const [first, second] = [new Date(a), new Date(b)];
  return (
    first.getDate() === second.getDate() &&
    first.getMonth() === second.getMonth() &&
    first.getFullYear() === second.getFullYear()
  );
}

/** `1 message`, `2 messages`. */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${numberOf(count)} ${count === 1 ? one : many}`;
}
