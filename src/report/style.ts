/**
 * How output looks: colours where a terminal shows them, and how wide it is.
 */
import { styleText } from 'node:util';

export interface Style {
  readonly colour: boolean;
  /** Columns that a line may take. */
  readonly width: number;
}

export const PLAIN: Style = { colour: false, width: 160 };

/** The least width for which tables are laid out: narrower terminals wrap. */
const WIDTH_MIN = 80;

/** What a stream can show. NO_COLOR (https://no-color.org) switches colours off, FORCE_COLOR on. */
export function styleOf(
  stream: { readonly isTTY?: boolean; readonly columns?: number },
  env: Readonly<Record<string, string | undefined>>,
): Style {
  const { NO_COLOR = '', FORCE_COLOR = '', TERM } = env;
  const wanted = FORCE_COLOR !== '' && FORCE_COLOR !== '0';
  const colour = NO_COLOR === '' && (wanted || (stream.isTTY === true && TERM !== 'dumb'));
  return { colour, width: stream.isTTY === true ? Math.max(WIDTH_MIN, stream.columns ?? PLAIN.width) : PLAIN.width };
}

type Look = 'bold' | 'dim' | 'red' | 'green' | 'yellow' | 'cyan';

export function paint(style: Style, look: Look, text: string): string {
  // Whether to colour was decided for the stream that the text goes to.
  return style.colour ? styleText(look, text, { validateStream: false } as Parameters<typeof styleText>[2]) : text;
}

export const heading = (style: Style, text: string): string => paint(style, 'bold', text);
