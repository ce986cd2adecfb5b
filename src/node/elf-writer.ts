/** An ELF64 core of physical pages, as captures hold them. System V gABI, chapters 4 and 5. */
import { Buffer } from 'node:buffer'

const EHDR = 64
const PHDR = 56
const SHDR = 64
const PAGE = 4096
const PT_LOAD = 1
const ET_CORE = 4
/** e_phnum when there are more segments: section header 0 has the number. */
const PN_XNUM = 0xffff

/**
 * @param machine e_machine.
 * @param frames frame number → its 1024 words.
 */
export function elfCore(machine: number, frames: ReadonlyMap<number, Int32Array>): Uint8Array {
  const numbers = [...frames.keys()].sort((a, b) => a - b)
  const runs: { first: number; count: number }[] = []
  for (const frame of numbers) {
    const last = runs.at(-1)
    if (last !== undefined && last.first + last.count === frame) last.count++
    else runs.push({ first: frame, count: 1 })
  }
  const extended = runs.length >= PN_XNUM
  const sections = EHDR + runs.length * PHDR
  const start = Math.ceil((sections + (extended ? SHDR : 0)) / PAGE) * PAGE
  const out = Buffer.alloc(start + numbers.length * PAGE)
  out.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1])
  out.writeUInt16LE(ET_CORE, 16)
  out.writeUInt16LE(machine, 18)
  out.writeUInt32LE(1, 20)
  out.writeBigUInt64LE(BigInt(runs.length === 0 ? 0 : EHDR), 32)
  out.writeBigUInt64LE(BigInt(extended ? sections : 0), 40)
  out.writeUInt16LE(EHDR, 52)
  out.writeUInt16LE(PHDR, 54)
  out.writeUInt16LE(extended ? PN_XNUM : runs.length, 56)
  out.writeUInt16LE(SHDR, 58)
  out.writeUInt16LE(extended ? 1 : 0, 60)
  if (extended) out.writeUInt32LE(runs.length, sections + 44)
  let at = start
  runs.forEach(({ first, count }, index) => {
    const header = EHDR + index * PHDR
    out.writeUInt32LE(PT_LOAD, header)
    out.writeUInt32LE(4, header + 4)
    out.writeBigUInt64LE(BigInt(at), header + 8)
    out.writeBigUInt64LE(BigInt(first) * BigInt(PAGE), header + 24)
    out.writeBigUInt64LE(BigInt(count * PAGE), header + 32)
    out.writeBigUInt64LE(BigInt(count * PAGE), header + 40)
    out.writeBigUInt64LE(BigInt(PAGE), header + 48)
    for (let frame = first; frame < first + count; frame++, at += PAGE) {
      const words = frames.get(frame)!
      out.set(new Uint8Array(words.buffer, words.byteOffset, PAGE), at)
    }
  })
  return out
}
