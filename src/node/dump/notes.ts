/**
 * Notes of a dump: registers of the CPUs, VMCOREINFO. System V gABI, "Note Section": name size, description size, type, then the name and
 * the description, each padded to 4 bytes (Linux and QEMU pad so in 64-bit files too).
 */
import type { ByteSource } from '../bytes.ts'
import { parseVmcoreInfo, VMCOREINFO_LIMIT, type VmcoreInfo } from './vmcoreinfo.ts'

export interface ElfNote {
  /** `CORE`, `VMCOREINFO`, `QEMU`. */
  readonly name: string
  readonly type: number
  /** Where its description lies in the file. */
  readonly offset: number
  readonly bytes: number
}

/** CPUs have a few notes each; more than this is no dump. */
const NOTE_LIMIT = 1 << 16

/** Adds the notes from `offset` on; what is broken ends the list. @param source one that keeps blocks: notes are read in small pieces. */
export function readNotes(source: ByteSource, offset: number, bytes: number, notes: ElfNote[]): void {
  const end = Math.min(offset + bytes, source.size)
  const header = new Uint8Array(12)
  const view = new DataView(header.buffer)
  for (let at = offset; at + 12 <= end && notes.length < NOTE_LIMIT; ) {
    source.read(at, header)
    const nameBytes = view.getUint32(0, true)
    const descriptionBytes = view.getUint32(4, true)
    const type = view.getUint32(8, true)
    const description = at + 12 + padded(nameBytes)
    if (nameBytes > 256 || description + descriptionBytes > end) break
    const name = new Uint8Array(nameBytes)
    source.read(at + 12, name)
    notes.push({ name: latin(name), type, offset: description, bytes: descriptionBytes })
    at = description + padded(descriptionBytes)
  }
}

/** What the kernel says, out of the notes; null when it is not among them. */
export function vmcoreInfoOf(source: ByteSource, notes: readonly ElfNote[]): VmcoreInfo | null {
  const note = notes.find(({ name, bytes }) => name === 'VMCOREINFO' && bytes > 0 && bytes <= VMCOREINFO_LIMIT)
  return note === undefined ? null : readVmcoreInfo(source, note.offset, note.bytes)
}

/** @throws InputError when the file ends before. */
export function readVmcoreInfo(source: ByteSource, offset: number, bytes: number): VmcoreInfo {
  const text = new Uint8Array(Math.min(bytes, VMCOREINFO_LIMIT))
  source.read(offset, text)
  return parseVmcoreInfo(text)
}

const NT_PRSTATUS = 1
/** e_machine by the size of NT_PRSTATUS: Linux, struct elf_prstatus with the registers of each architecture. */
const PRSTATUS_MACHINES: Readonly<Record<number, number>> = { 336: 62, 392: 183, 376: 243, 144: 3, 148: 40 }

/** The architecture by the registers of its CPUs; null when there are none. */
export function machineOf(notes: readonly ElfNote[]): number | null {
  const status = notes.find(({ name, type }) => name === 'CORE' && type === NT_PRSTATUS)
  return status === undefined ? null : (PRSTATUS_MACHINES[status.bytes] ?? null)
}

function padded(bytes: number): number {
  return Math.ceil(bytes / 4) * 4
}

function latin(bytes: Uint8Array): string {
  const end = bytes.indexOf(0)
  return new TextDecoder('latin1').decode(end < 0 ? bytes : bytes.subarray(0, end))
}
