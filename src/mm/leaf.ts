/**
 * Access and dirty state in a leaf, for every format. A page can be writable and clean: where the format has a dirty bit of its own, that
 * is clear; where writability and dirty state are one bit with a "managed" bit beside (Arm: DBM and AP[2], ARM DDI 0487 D8.4.6), the
 * managed bit is set and the other says read-only. Software uses the managed bit in this way whether or not hardware does.
 */
import { PR, PW, UR, UW } from '../base/types.ts'
import type { PtFormat } from '../format/pt/format.ts'
import { rightsIndex } from '../format/pt/leaf-words.ts'
import type { MapOptions, PageTable } from '../format/pt/mapper.ts'

/** What software wants of a leaf. */
export interface LeafState {
  readonly accessed: boolean
  readonly dirty: boolean
}

/** A leaf's words. */
export interface Leaf {
  readonly hi: number
  readonly lo: number
}

const WRITE = UW | PW

/** What to ask the mapper for: rights, and bits over those that rights alone ask for. */
export interface LeafRequest {
  readonly rights: number
  readonly options: MapOptions
}

/** The leaf that gives these rights in this state. */
export function leafRequest(format: PtFormat, rights: number, state: LeafState): LeafRequest {
  const options = stateBits(format, (rights & WRITE) !== 0, state)
  if (format.dirtyManagedHi === 0) return { rights, options }
  // The read-only leaf plus what the state adds: so a clean page gives nothing that a dirty one does not.
  const readable = ((rights & UW) !== 0 ? UR : 0) | ((rights & PW) !== 0 ? PR : 0)
  return { rights: (rights & ~WRITE) | readable, options }
}

/** The bits to set and to clear for this state. */
export function stateBits(
  format: PtFormat,
  writable: boolean,
  state: LeafState,
): { setLo: number; clearLo: number; setHi: number } {
  let setLo = 0
  let clearLo = 0
  if (state.accessed) setLo |= format.accessed
  else clearLo |= format.accessed
  const managed = format.dirtyManagedHi !== 0
  if (writable || !managed) {
    if (state.dirty === (!managed || format.dirtySets)) setLo |= format.dirty
    else clearLo |= format.dirty
  }
  return { setLo, clearLo, setHi: writable ? format.dirtyManagedHi : 0 }
}

/** Whether the process may write through this leaf, dirty or not. */
export function leafWritable(table: PageTable, leaf: Leaf): boolean {
  const { format } = table.space
  if (format.dirtyManagedHi !== 0) return (leaf.hi & format.dirtyManagedHi) !== 0
  return (table.leafRights(leaf.hi, leaf.lo) & WRITE) !== 0
}

/** Whether something was written through this leaf. Formats that cannot tell say yes for every writable one. */
export function leafDirty(table: PageTable, leaf: Leaf): boolean {
  const { format } = table.space
  if (format.dirtyManagedHi !== 0) return leafWritable(table, leaf) && ((leaf.lo & format.dirty) !== 0) === format.dirtySets
  return format.dirty === 0 ? leafWritable(table, leaf) : (leaf.lo & format.dirty) !== 0
}

/** Whether it was used since the flag was cleared. Formats that cannot tell say yes. */
export function leafAccessed(format: PtFormat, leaf: Leaf): boolean {
  return format.accessed === 0 || (leaf.lo & format.accessed) !== 0
}

/** `rights`, or without those of the other privilege where the format cannot give a page to both. */
export function sayable(format: PtFormat, rights: number, kernel: boolean): number {
  return rightsIndex(format, rights) >= 0 ? rights : kernel ? rights & 0b111000 : rights & 0b000111
}
