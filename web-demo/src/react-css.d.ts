// Custom properties in the `style` of an element.
import 'react';

declare module 'react' {
  interface CSSProperties {
    '--hue'?: number;
    '--at'?: number;
  }
}
