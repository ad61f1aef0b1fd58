/** How much a request handler says on the console. */
export type LogLevel = 'error' | 'warn' | 'info' | 'debug';

/** Where a request handler reports to. */
export type Log = {readonly [K in LogLevel]: (message: string, ...details: unknown[]) => void};

const ORDER: readonly LogLevel[] = ['error', 'warn', 'info', 'debug'];

/** A log on the console that drops what is less important than `level`. */
export function consoleLog(level: LogLevel): Log {
  const loudest = ORDER.indexOf(level);
  const at = (wanted: LogLevel) => (message: string, ...details: unknown[]) => {
    if (ORDER.indexOf(wanted) <= loudest) {
      console[wanted](`landfall: ${message}`, ...details);
    }
  };
  return {error: at('error'), warn: at('warn'), info: at('info'), debug: at('debug')};
}
