import {callBack} from './call-back.js';
import type {LogLevel, LogSink} from './zero-options.js';

/** Writes a line if its level is wanted; details, such as an error with its stack, come behind it. */
export type Logger = (level: LogLevel, message: string, ...details: unknown[]) => void;

const order: readonly LogLevel[] = ['error', 'warn', 'info', 'debug'];

/** A logger of this level and the more serious ones. */
export function logger(wanted: LogLevel, sink: LogSink | undefined): Logger {
  return (level, message, ...details) => {
    if (order.indexOf(level) > order.indexOf(wanted)) {
      return;
    }
    if (sink === undefined) {
      console[level](`[landfall] ${message}`, ...details);
    } else {
      callBack(() => sink.log(level, undefined, message, ...details));
    }
  };
}
