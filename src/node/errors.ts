/** What goes wrong with input files: which file, where in it, and what was expected there. */

export class InputError extends Error {
  readonly file: string
  /** Byte offset in the (unpacked) file, or the path of a JSON value; null when the whole file is meant. */
  readonly where: number | string | null
  /** `unreadable`: missing, cut off, corrupt, not what it should be. `unsupported`: understood, but nothing here handles it. */
  readonly kind: 'unreadable' | 'unsupported'

  constructor(file: string, where: number | string | null, text: string, kind: 'unreadable' | 'unsupported' = 'unreadable') {
    const place = where === null ? '' : typeof where === 'number' ? ` at offset 0x${where.toString(16)}` : ` at ${where}`
    super(`${file}${place}: ${text}`)
    this.name = 'InputError'
    this.file = file
    this.where = where
    this.kind = kind
  }
}
