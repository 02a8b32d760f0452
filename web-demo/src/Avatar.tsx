// A disc with a letter, in a colour that is always the same for a name.

const HUES = 360;
const LETTERS = new Intl.Segmenter();

export function Avatar({ name }: { name: string }) {
  return (
    <span className="avatar" aria-hidden="true" style={{ '--hue': hueOf(name) }}>
      {letterOf(name)}
    </span>
  );
}

function letterOf(name: string): string {
  const [first] = LETTERS.segment(name.replace(/^[\p{P}\p{S}\s]+/u, ''));
  return first?.segment.toLocaleUpperCase() ?? '·';
}

/** Spreads names over the colour circle. */
export function hueOf(name: string): number {
  let sum = 7;
  for (const character of name) sum = (sum * 31 + (character.codePointAt(0) ?? 0)) % 65_521;
  return (sum * 47) % HUES;
}
