/** A log file, read in pieces: packed or not, from a file or standard input; told from what is no text. */
import { LogReader, type ParsedLog } from '../explain/index.ts'
import { type ByteSource, InputError, openBytes } from '../node/index.ts'

const PIECE = 1 << 16

/**
 * Reads a log. `-` is standard input.
 * @throws InputError when it cannot be read, or is no text.
 */
export async function readLog(path: string): Promise<ParsedLog> {
  const source = await openBytes(path)
  try {
    return parsePieces(source)
  } finally {
    source.close()
  }
}

function parsePieces(source: ByteSource): ParsedLog {
  const reader = new LogReader()
  let decoder: InstanceType<typeof TextDecoder> | null = null
  for (let at = 0; at < source.size; at += PIECE) {
    const bytes = new Uint8Array(Math.min(PIECE, source.size - at))
    source.read(at, bytes)
    decoder ??= new TextDecoder(encodingOf(source.name, bytes))
    reader.push(decoder.decode(bytes, { stream: true }))
  }
  if (decoder !== null) reader.push(decoder.decode())
  return reader.end()
}

/** UTF-8, or the UTF-16 that Windows tools write. @throws InputError for what is no text. */
function encodingOf(name: string, head: Uint8Array): string {
  if (head[0] === 0xff && head[1] === 0xfe) return 'utf-16le'
  if (head[0] === 0xfe && head[1] === 0xff) return 'utf-16be'
  // No text has NUL bytes: what is binary nearly always does.
  const zero = head.indexOf(0)
  if (zero >= 0)
    throw new InputError(
      name,
      zero,
      'is no text: a kernel log is expected (dmesg, journalctl -k, a console or a mail that quotes one)',
    )
  return 'utf-8'
}
