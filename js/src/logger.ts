import type {LogLevel, LogSink} from './zero-options.js';

/** Writes a line if its level is wanted. */
export type Logger = (level: LogLevel, message: string) => void;

const order: readonly LogLevel[] = ['error', 'warn', 'info', 'debug'];

/** A logger of this level and the more serious ones. */
export function logger(wanted: LogLevel, sink: LogSink | undefined): Logger {
  return (level, message) => {
    if (order.indexOf(level) > order.indexOf(wanted)) {
      return;
    }
    if (sink === undefined) {
      console[level](`[landfall] ${message}`);
    } else {
      sink.log(level, undefined, message);
    }
  };
}
