/** What all sub-commands share: exit codes, errors, output. */
import { InvalidArgumentError } from 'commander'
import { parseNumber } from '../base/hex.ts'

/** Exit codes, documented in README. */
export const EXIT_OK = 0
/** Something was found: a fault, a failed expectation. */
export const EXIT_FINDINGS = 1
export const EXIT_USAGE = 2
/** Input that cannot be read: missing, corrupt, not what it should be. */
export const EXIT_INPUT = 3
/** Input that is understood and not supported. */
export const EXIT_UNSUPPORTED = 4

/** Ends the command with a message for people and an exit code. */
export class CliError extends Error {
  readonly exitCode: number
  constructor(exitCode: number, message: string) {
    super(message)
    this.name = 'CliError'
    this.exitCode = exitCode
  }
}

/** Whether to colour what goes to this stream. */
export function colourFor(stream: { isTTY?: boolean }): boolean {
  return stream.isTTY === true && (process.env.NO_COLOR ?? '') === '' && process.env.TERM !== 'dumb'
}

/** Text of an input for a terminal: control characters, which could steer it, become `?`; lines stay. */
export function harmless(text: string): string {
  return text.replaceAll(/(?!\n)[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu, '?')
}

/** Data, to stdout. */
export function print(text: string): void {
  process.stdout.write(text.endsWith('\n') ? text : `${text}\n`)
}

/** Everything that is not data, to stderr. */
export function note(text: string): void {
  process.stderr.write(text.endsWith('\n') ? text : `${text}\n`)
}

/** JSON for `--json`: 64-bit values and addresses as 0x… strings, maps as objects. */
export function toJson(value: unknown): string {
  return JSON.stringify(
    value,
    (_, item: unknown) => {
      if (typeof item === 'bigint') return `0x${item.toString(16)}`
      if (item instanceof Map) return Object.fromEntries(item)
      if (item instanceof Set) return [...item]
      return item
    },
    2,
  )
}

/** An address or number argument. */
export function numberArgument(text: string): bigint {
  const value = parseNumber(text)
  if (value === null) throw new InvalidArgumentError(`'${text}' is not a number: write 0x1f000, 4096 or 2M.`)
  return value
}
