/**
 * Registers of an IOMMU, wherever they were found: beside a capture, in a file, on the command line, in the text of a debug file, in a
 * dump, in a running machine. Whoever finds some makes a `RegisterSource` of them; with memory it is all that inspectors and
 * models need. Three rules: unknown is null, never zero; `how` and `sure` say what the values are worth; what was assumed stands in
 * `notes`, which become findings of the picture.
 */
import * as v from 'valibot'
import type { Names } from '../inspect/graph.ts'
import { InputError } from './errors.ts'
import { chosenUnit, isRegisterText, parseRegisterText } from './registers-text.ts'
import { Big, type CaptureSide, parseSide, Small } from './side.ts'
import { readUnpacked } from './unpack.ts'

export interface RegisterSource {
  /** Kind of IOMMU, as captures call it: `smmuv3`, `vtd`, `amdvi`, `riscv`. */
  readonly kind: string
  /** Value of the register at this offset; null when it is not known. A 64-bit one answers 32-bit reads of its halves. */
  register(offset: number, bytes: 4 | 8): bigint | null
  /** The way they were found, in words: `side.json.gz`, `--smmu`, `a scan for stream tables`. */
  readonly how: string
  /** `certain`: read from the hardware, or told by the user. `likely`: fits, and nothing else does. `guess`: one way of several. */
  readonly sure: 'certain' | 'likely' | 'guess'
  /** Devices and address spaces that have names. */
  readonly names?: Names
  /** What a reader of the picture should know: values that were assumed, and why. */
  readonly notes?: readonly string[]
}

/** One register's value. */
export interface RegisterValue {
  readonly offset: number
  readonly size: number
  readonly value: bigint
}

/** Registers by offset; two 32-bit ones answer a 64-bit read. */
export function registerReader(values: Iterable<RegisterValue>): RegisterSource['register'] {
  const words = new Map<number, bigint>()
  for (const { offset, size, value } of values) {
    words.set(offset, value & 0xffffffffn)
    if (size === 8) words.set(offset + 4, value >> 32n)
  }
  return (offset, bytes) => {
    const low = words.get(offset)
    if (low === undefined || bytes === 4) return low ?? null
    return low | ((words.get(offset + 4) ?? 0n) << 32n)
  }
}

const Listed = v.looseObject({
  name: v.string('expected the name of a register'),
  offset: v.optional(Small),
  size: v.optional(v.picklist([4, 8], 'expected 4 or 8')),
  value: Big,
})
const List = v.union(
  [v.array(Listed), v.looseObject({ registers: v.array(Listed) })],
  'expected a list of registers like [{ "name": "CR0", "offset": "0x20", "size": 4, "value": "0x1" }], or a capture\'s side.json',
)

/** A register as a file lists it: offset and size may be left to the name. */
export type ListedRegister = v.InferOutput<typeof Listed>

export interface RegisterFileContents {
  /** Null when the file does not say. */
  readonly kind: string | null
  readonly registers: readonly ListedRegister[]
  /** All of it, when it is a capture's. */
  readonly side: CaptureSide | null
}

/** Registers take a few KiB; a capture's side.json less than a MiB. */
const FILE_LIMIT = 64 << 20

/**
 * Reads a capture's side.json, packed or not, a plain list of registers, or the text of debug files.
 * @param unit name of the IOMMU in a text of several.
 * @throws InputError naming the place of what is wrong.
 */
export async function readRegisterFile(path: string, unit: string | null = null): Promise<RegisterFileContents> {
  const text = new TextDecoder().decode(await readUnpacked(path, FILE_LIMIT))
  if (isRegisterText(text)) return { ...chosenUnit(path, parseRegisterText(text), unit), side: null }
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (error) {
    throw new InputError(path, null, `is no JSON: ${(error as Error).message}`)
  }
  if (typeof json === 'object' && json !== null && 'iommu' in json) {
    const side = parseSide(path, text)
    return { kind: side.iommu, registers: side.registers.map(({ size, ...rest }) => ({ ...rest, size: size as 4 | 8 })), side }
  }
  const parsed = v.safeParse(List, json, { abortEarly: true })
  if (parsed.success) {
    const registers = Array.isArray(parsed.output) ? parsed.output : parsed.output.registers
    return { kind: null, registers, side: null }
  }
  const issue = parsed.issues[0]
  const deepest = issue.issues?.[0] ?? issue
  const where = (deepest.path ?? []).map(({ key }) => (typeof key === 'number' ? `[${key}]` : `.${String(key)}`)).join('')
  throw new InputError(path, `$${where}`, deepest.input === undefined ? 'is missing' : deepest.message)
}
