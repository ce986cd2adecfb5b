import { describe, expect, it } from 'vitest'
import { PR, PW, PX, UR, UW, UX } from '../../base/types.ts'
import { PhysicalMemory } from '../../memory/physical.ts'
import {
  AD_FAULT,
  AD_SET,
  NEED_DIRTY_ALONG,
  NEED_IF_ALLOWED,
  NEED_INTERMEDIATE,
  NEED_SUPERVISOR,
  NEED_USER,
  type PtSpace,
  ptSpace,
} from './format.ts'
import { runPtSuite } from './pt.suite.ts'
import { type RiscvMode, riscvScheme, WITHOUT_SUM } from './riscv.ts'
import {
  readsOf,
  WALK_ACCESS_FLAG,
  WALK_DIRTY,
  WALK_INPUT_RANGE,
  WALK_OK,
  WALK_PERMISSION,
  WALK_RESERVED,
  WALK_STAGE2_TABLE,
  Walker,
} from './walker.ts'

const EXTENSIONS = { svpbmt: true, svrsw60t59b: false }
const MODES: RiscvMode[] = ['Sv32', 'Sv39', 'Sv48', 'Sv57', 'Sv32x4', 'Sv39x4', 'Sv48x4', 'Sv57x4']

runPtSuite(
  MODES.map((mode) => {
    const { format, topDepth, inputBits } = riscvScheme(mode, EXTENSIONS)
    const wide = format.entryLog2 === 3
    // One mode with NAPOT leaves of 64 KiB.
    return { name: mode, format, topDepth, inputBits, outputLimit: wide ? 2 ** 56 : 2 ** 34, runs: mode === 'Sv48' }
  }),
)

const ROOT = 0x8000_0000
const LEAF_TABLE = 0x8000_4000
const PAGE = 0x1234_5000

/** A space whose input 0x1000 is reached through tables at ROOT …, with this leaf entry. */
function build(mode: RiscvMode, leaf: bigint, given: Partial<PtSpace> = {}, extensions = EXTENSIONS) {
  const memory = new PhysicalMemory([{ start: ROOT, end: ROOT + 0x100000 }])
  const { format, topDepth, inputBits, top } = riscvScheme(mode, extensions)
  for (let depth = topDepth; depth > 0; depth--) {
    const table = depth === topDepth ? ROOT : LEAF_TABLE + depth * 0x1000
    const next = depth === 1 ? LEAF_TABLE : LEAF_TABLE + (depth - 1) * 0x1000
    memory.write64(table, BigInt(next / 4) | 1n)
  }
  if (format.entryLog2 === 3) memory.write64(LEAF_TABLE + 8, leaf)
  else memory.write32(LEAF_TABLE + 4, Number(leaf & 0xffffffffn))
  const space = ptSpace({ format, root: ROOT, topDepth, inputBits, top, outputLimit: 2 ** 56, ...given })
  return { memory, walker: new Walker(memory), space }
}
const pte = (flags: number, high = 0n) => (high << 32n) | BigInt(PAGE / 4) | BigInt(flags)
const V = 1
const R = 2
const W = 4
const X = 8
const U = 16
const A = 64
const D = 128

describe('RISC-V page table entries', () => {
  it('reserves W without R, bits 58:54, memory type 3, and bits 60:59 without Svrsw60t59b', () => {
    const status = (leaf: bigint, extensions = EXTENSIONS) => {
      const { walker, space } = build('Sv39', leaf, {}, extensions)
      return walker.walk(space, 0, 0x1000, 0, false)
    }
    expect(status(pte(V | R))).toBe(WALK_OK)
    expect(status(pte(V | W))).toBe(WALK_RESERVED)
    expect(status(pte(V | W | X))).toBe(WALK_RESERVED)
    for (let bit = 54; bit <= 60; bit++) expect(status(pte(V | R, 1n << BigInt(bit - 32)))).toBe(WALK_RESERVED)
    expect(status(pte(V | R, 3n << 27n), { svpbmt: true, svrsw60t59b: true })).toBe(WALK_OK)
    for (const type of [1n, 2n]) {
      expect(status(pte(V | R, type << 29n))).toBe(WALK_OK)
      expect(status(pte(V | R, type << 29n), { svpbmt: false, svrsw60t59b: false })).toBe(WALK_RESERVED)
    }
    expect(status(pte(V | R, 3n << 29n))).toBe(WALK_RESERVED)
  })

  it('knows 64 KiB NAPOT leaves by PPN[3:0] = 1000 and takes any other N as reserved', () => {
    const napot = 1n << 63n
    const at = (ppn: bigint) => {
      const { walker, space } = build('Sv39', napot | (ppn << 10n) | 3n)
      return { status: walker.walk(space, 0, 0x1abc, UR | PR, false), walker }
    }
    const { walker } = at(0x45678n)
    expect([walker.status, walker.sizeLog2]).toEqual([WALK_PERMISSION, 16])
    const { space, walker: user } = build('Sv39', napot | (0x45678n << 10n) | 0x13n)
    expect(user.walk(space, 0, 0x1abc, UR, false)).toBe(WALK_OK)
    expect(user.outLo).toBe(0x45671abc)
    expect(at(0x45670n).status).toBe(WALK_RESERVED)
    expect(at(0x45674n).status).toBe(WALK_RESERVED)
  })

  it('reserves A, D, U, N and the memory type in table entries', () => {
    for (const bit of [4, 6, 7, 61, 62, 63]) {
      const { memory, walker, space } = build('Sv39', pte(V | R))
      memory.write64(ROOT, memory.read64(ROOT) | (1n << BigInt(bit)))
      expect(walker.walk(space, 0, 0x1000, 0, false)).toBe(WALK_RESERVED)
    }
  })

  it('lets supervisors into user pages by SUM, and never execute them', () => {
    const rights = (leaf: bigint, fix?: Uint8Array) => {
      const { walker, space } = build('Sv48', leaf, fix === undefined ? {} : { fix })
      walker.walk(space, 0, 0x1000, 0, false)
      return walker.rights
    }
    expect(rights(pte(V | R | W | X | U))).toBe(UR | UW | UX | PR | PW)
    expect(rights(pte(V | R | W | X | U), WITHOUT_SUM)).toBe(UR | UW | UX)
    expect(rights(pte(V | R | W | X), WITHOUT_SUM)).toBe(PR | PW | PX)
  })

  it('refuses a leaf of the wrong side even when no right is needed', () => {
    for (const [flags, need, status] of [
      [V | X, NEED_USER, WALK_PERMISSION],
      [V | X, NEED_SUPERVISOR, WALK_OK],
      [V | X | U, NEED_USER, WALK_OK],
      [V | X | U, NEED_SUPERVISOR, WALK_PERMISSION],
    ] as const) {
      const { walker, space } = build('Sv39', pte(flags))
      expect(walker.walk(space, 0, 0x1000, need, false)).toBe(status)
    }
  })

  it('sign-extends Sv39 to Sv57, and takes no bits above Sv32 and above the x4 modes', () => {
    for (const [mode, hi, status] of [
      ['Sv39', 0x40, WALK_INPUT_RANGE],
      ['Sv39', -0x40, WALK_OK],
      ['Sv57', -0x1000000, WALK_OK],
      ['Sv57', 0x1000000, WALK_INPUT_RANGE],
      ['Sv32', 1, WALK_INPUT_RANGE],
      ['Sv39x4', 0x200, WALK_INPUT_RANGE],
      ['Sv57x4', 0x8000000, WALK_INPUT_RANGE],
    ] as const) {
      const { memory, walker, space } = build(mode, pte(V | R | U))
      if (hi < 0) memory.write64(ROOT + 0x800, memory.read64(ROOT))
      expect([mode, walker.walk(space, hi, 0x1000, 0, false)]).toEqual([mode, status])
    }
  })

  it('reads nothing at or above the physical limit', () => {
    const { walker, space } = build('Sv39', pte(V | R | U))
    expect(walker.walk(ptSpace({ ...space, physicalLimit: 2 ** 32 }), 0, 0x1000, UR, false)).toBe(WALK_OK)
    const far = ptSpace({ ...space, root: 2 ** 33, physicalLimit: 2 ** 32 })
    expect(walker.walk(far, 0, 0x1000, UR, false)).not.toBe(WALK_OK)
  })
})

describe('access and dirty bits', () => {
  const entry = (memory: PhysicalMemory) => Number(memory.read64(LEAF_TABLE + 8) & 0xffn)

  it('faults on a clear A, and on a clear D for a write, where hardware does not set them', () => {
    const status = (flags: number, need: number) => {
      const { walker, space } = build('Sv39', pte(flags), { accessed: AD_FAULT, dirty: AD_FAULT })
      return walker.walk(space, 0, 0x1000, need, true)
    }
    expect(status(V | R | W | U, UR)).toBe(WALK_ACCESS_FLAG)
    expect(status(V | R | W | U | A, UR)).toBe(WALK_OK)
    expect(status(V | R | W | U | A, UW)).toBe(WALK_DIRTY)
    expect(status(V | R | W | U | A, UR | (UW << NEED_IF_ALLOWED))).toBe(WALK_DIRTY)
    expect(status(V | R | U | A, UR | (UW << NEED_IF_ALLOWED))).toBe(WALK_OK)
  })

  it('sets D for an access that happens only if it is allowed, and along with A where asked', () => {
    for (const [flags, need, after] of [
      [V | R | W | U, UR, V | R | W | U | A],
      [V | R | W | U, UR | (UW << NEED_IF_ALLOWED), V | R | W | U | A | D],
      [V | R | U, UR | (UW << NEED_IF_ALLOWED), V | R | U | A],
      [V | R | W | U, UR | NEED_DIRTY_ALONG, V | R | W | U | A | D],
      [V | R | W | U | A, UR | NEED_DIRTY_ALONG, V | R | W | U | A],
      [V | R | U, UR | NEED_DIRTY_ALONG, V | R | U | A],
    ] as const) {
      const { memory, walker, space } = build('Sv39', pte(flags), { accessed: AD_SET, dirty: AD_SET })
      expect(walker.walk(space, 0, 0x1000, need, true)).toBe(WALK_OK)
      expect(entry(memory)).toBe(after)
      expect(readsOf(space, walker)).toBe(after === flags ? 3 : 4)
    }
  })

  it('rehearses an update without doing it', () => {
    const { memory, walker, space } = build('Sv39', pte(V | R | U), { accessed: AD_SET, dirty: AD_SET })
    walker.rehearse = true
    expect(walker.walk(space, 0, 0x1000, UR, true)).toBe(WALK_OK)
    expect(entry(memory)).toBe(V | R | U)
  })

  it('sets the bits in a big-endian table and in a 4-byte entry without touching its neighbour', () => {
    const { memory, walker, space } = build('Sv32', pte(V | R | U), { accessed: AD_SET, dirty: AD_SET })
    memory.write32(LEAF_TABLE + 8, 0xdeadbeef)
    expect(walker.walk(space, 0, 0x1000, UR, true)).toBe(WALK_OK)
    expect(memory.read64(LEAF_TABLE + 8)).toBe(0xdeadbeefn)
    expect(memory.read32(LEAF_TABLE + 4) & 0xff).toBe(V | R | U | A)
  })
})

describe('two stages', () => {
  /** Sv39 tables of the first stage are mapped 1:1 by one gigapage of the second stage with these flags. */
  function twoStages(flags: number, given: Partial<PtSpace> = {}, leaf = pte(V | R | W | U)) {
    const built = build('Sv39', leaf, given)
    const { format, topDepth, inputBits, top } = riscvScheme('Sv39x4', EXTENSIONS)
    const root = ROOT + 0x10000
    built.memory.write64(root + 16, BigInt(ROOT / 4) | BigInt(flags))
    const stage2 = ptSpace({ format, root, topDepth, inputBits, top, outputLimit: 2 ** 56 })
    return { ...built, root, space: ptSpace({ ...built.space, stage2 }) }
  }

  it('stops at the intermediate address where asked, and counts the reads of the second stage', () => {
    const { walker, space } = twoStages(V | R | W | U | A | D)
    expect(walker.walk(space, 0, 0x1abc, UR | NEED_INTERMEDIATE, true)).toBe(WALK_OK)
    expect(walker.outLo).toBe(PAGE + 0xabc)
    expect([readsOf(space, walker), walker.fetchReads]).toEqual([3, 3])
  })

  it('tells that the second stage refused an update, not a fetch', () => {
    const { walker, space } = twoStages(V | R | U | A | D, { accessed: AD_SET, dirty: AD_SET })
    expect(walker.walk(space, 0, 0x1000, UR | NEED_INTERMEDIATE, true)).toBe(WALK_STAGE2_TABLE)
    expect(walker.updateRefused).toBe(true)
    const fetch = twoStages(V | X | U | A | D)
    expect(fetch.walker.walk(fetch.space, 0, 0x1000, UR | NEED_INTERMEDIATE, true)).toBe(WALK_STAGE2_TABLE)
    expect(fetch.walker.updateRefused).toBe(false)
  })
})
