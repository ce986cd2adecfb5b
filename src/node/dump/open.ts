/** Opens a dump, whatever its format: found by what the file begins with, never by its name. */
import type { ByteSource } from '../bytes.ts'
import { elfExtent, openElfCore } from '../elf.ts'
import { InputError } from '../errors.ts'
import { openBytes } from '../unpack.ts'
import type { Dump } from './contract.ts'
import { flattenedSource } from './flattened.ts'
import { foreignText, HEAD_BYTES, recognise } from './formats.ts'
import { openKdump } from './kdump.ts'
import { openLime } from './lime.ts'
import { openRaw } from './raw.ts'

export interface DumpOptions {
  /** The file is a raw image of memory from this address on, whatever it begins with. */
  readonly base?: number
  /** Largest size in bytes that is accepted after unpacking. */
  readonly limit?: number
}

/**
 * Opens a dump by its path; `-` is standard input. Packed ones (gzip, zstd) are unpacked first; of others only headers are read, and
 * later the pages that memory asks for.
 * @throws InputError naming the file, and the offset of what is wrong in it.
 * @example
 * ```ts
 * import { PhysicalMemory } from 'iomm'
 * import { openDump } from 'iomm/node'
 *
 * export async function firstWord(path: string): Promise<bigint> {
 *   const dump = await openDump(path)
 *   const memory = new PhysicalMemory([], dump)
 *   const [first] = dump.ranges()
 *   return first === undefined ? 0n : memory.read64(first.start)
 * }
 * ```
 */
export async function openDump(path: string, options: DumpOptions = {}): Promise<Dump> {
  const { base, limit } = options
  const look = base === undefined ? { look: lookForDump } : {}
  const source = await openBytes(path, { ...look, ...(limit === undefined ? {} : { limit }) })
  try {
    return await openDumpBytes(source, options)
  } catch (error) {
    source.close()
    throw error
  }
}

/** As `openDump`, for bytes that are open already. */
export async function openDumpBytes(source: ByteSource, { base }: DumpOptions = {}): Promise<Dump> {
  if (base !== undefined) return openRaw(source, base)
  const kind = kindOfDump(source)
  if (kind === 'elf') return openElfCore(source)
  if (kind === 'lime') return openLime(source)
  if (kind === 'kdump') return openKdump(source, null)
  const rearranged = flattenedSource(source)
  const inner = kindOfDump(rearranged)
  if (inner === 'elf') return { ...openElfCore(rearranged), name: source.name, format: 'ELF core, flattened' }
  if (inner === 'kdump') return openKdump(rearranged, source.name)
  throw new InputError(rearranged.name, 0, foreignText(headOf(rearranged)))
}

function headOf(source: ByteSource): Uint8Array {
  const head = new Uint8Array(Math.min(source.size, HEAD_BYTES))
  source.read(0, head)
  return head
}

/** The format of a dump by its first bytes. @throws InputError that says what was seen when it is none. */
export function kindOfDump(source: ByteSource): 'elf' | 'kdump' | 'flattened' | 'lime' {
  const head = headOf(source)
  const kind = recognise(head)?.kind
  if (kind === 'elf' || kind === 'kdump' || kind === 'flattened' || kind === 'lime') return kind
  throw new InputError(source.name, 0, foreignText(head))
}

/** How much of what is being unpacked is needed; for `openBytes`. @throws InputError when it is no dump. */
export function lookForDump(head: ByteSource): number | null {
  return kindOfDump(head) === 'elf' ? elfExtent(head) : null
}
