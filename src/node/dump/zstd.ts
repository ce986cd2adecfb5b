/** zstd (RFC 8878), unpacked by Meta's decompressor compiled to WebAssembly: it has been tried with hostile input for years. */
import { ZSTDDecoder } from 'zstddec/stream'

/** Unpacks one page. @returns the number of bytes written, or null when the input is damaged or longer than `output`. */
export type Unpack = (input: Uint8Array, output: Uint8Array) => number | null

/** Calls that give nothing in a row, before what is fed is said to be damaged; each may take up one header of a frame. */
const EMPTY_LIMIT = 1 << 16

/** The decompressor, made when it is needed. */
export async function zstdPages(): Promise<Unpack> {
  const decoder = await ready()
  return (input, output) => {
    // Without a size, the decoder would believe the frame's own; a damaged frame gives nothing at all.
    if (output.length === 0) return null
    const unpacked = decoder.decode(input, output.length)
    if (unpacked.length === 0) return null
    output.set(unpacked)
    return unpacked.length
  }
}

/**
 * Unpacks a file piece by piece; its window is at most 128 MiB.
 * @throws Error when it is damaged or cut off.
 */
export async function zstdStream(pieces: Iterable<Uint8Array>): Promise<Iterable<Uint8Array>> {
  const decoder = await ready()
  return (function* () {
    let empty = 0
    for (const piece of decoder.decodeStreaming(pieces)) {
      if (piece.length > 0) yield piece
      // After an error the decompressor takes nothing more and gives nothing more.
      if (piece.length > 0) empty = 0
      else if (++empty > EMPTY_LIMIT) throw new Error('invalid data')
    }
  })()
}

async function ready(): Promise<ZSTDDecoder> {
  const decoder = new ZSTDDecoder()
  await decoder.init()
  return decoder
}
