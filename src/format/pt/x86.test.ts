import { describe, expect, it } from 'vitest'
import { PR, PW, PX, UR, UW, UX } from '../../base/types.ts'
import { PhysicalMemory } from '../../memory/physical.ts'
import { AD_SET, type PtSpace, ptSpace, TOP_SIGN } from './format.ts'
import { runPtSuite, type SuiteConfiguration } from './pt.suite.ts'
import { WALK_INPUT_RANGE, WALK_OK, WALK_RESERVED, Walker } from './walker.ts'
import {
  amdV2,
  vtdFirst,
  X86_A,
  X86_D,
  X86_EA,
  X86_G,
  X86_P,
  X86_PS,
  X86_RW,
  X86_US,
  type X86Options,
  type X86Scheme,
  x86Cpu,
  x86Fix,
  x86Format,
  x86Scheme,
} from './x86.ts'

const configurations: SuiteConfiguration[] = []
const CHOICES: readonly X86Options[] = [
  {},
  { physicalBits: 36, gigapages: false },
  { walker: 'vtd', physicalBits: 46, noExecute: 'ignored' },
  { walker: 'vtd', extendedAccessed: true },
  { walker: 'amd', noExecute: 'reserved' },
]
for (const levels of [4, 5] as const) {
  for (const options of CHOICES) {
    const { format, topDepth, inputBits } = x86Scheme(levels, options)
    const name = `${levels} levels, ${JSON.stringify(options)}`
    configurations.push({ name, format, topDepth, inputBits, outputLimit: 2 ** (options.physicalBits ?? 52) })
  }
}
runPtSuite(configurations)

const TABLES = 0x1000
const USER = X86_P | X86_RW | X86_US | X86_A

/** Tables that lead to the entry `leaf` at `depth` for input 0; `over` is set in the entry above it. */
function build(scheme: X86Scheme, depth: number, leaf: bigint, given: Partial<PtSpace> = {}, over: readonly bigint[] = []) {
  const memory = new PhysicalMemory([{ start: 0, end: 0x10000 }])
  for (let at = scheme.topDepth; at > depth; at--)
    memory.write64(TABLES * (at + 1), (over[at] ?? 0n) ^ BigInt((TABLES * at) | USER))
  memory.write64(TABLES * (depth + 1), leaf)
  const space = ptSpace({ ...scheme, root: TABLES * (scheme.topDepth + 1), ...given })
  return { memory, space, walker: new Walker(memory) }
}

const page = (bits: number, high = 0n) => (high << 32n) | 0x4000_0000n | BigInt(bits)

describe('reserved bits of x86-64 entries', () => {
  const status = (options: X86Options, depth: number, entry: bigint) => {
    const { space, walker } = build(x86Scheme(5, options), depth, entry)
    return walker.walk(space, 0, 0, 0, false)
  }

  it('are address bits above the width, in tables and leaves', () => {
    for (const physicalBits of [36, 46, 52]) {
      for (let bit = 40; bit < 52; bit++) {
        const expected = bit < physicalBits ? WALK_OK : WALK_RESERVED
        expect(status({ physicalBits }, 0, page(USER, 1n << BigInt(bit - 32)))).toBe(expected)
      }
      for (const depth of [1, 2, 3, 4]) {
        const { memory, space, walker } = build(x86Scheme(5, { physicalBits }), 0, page(USER))
        memory.write64(TABLES * (depth + 1), memory.read64(TABLES * (depth + 1)) | (1n << 51n))
        // Where it is none, the table lies where nothing answers.
        expect(walker.walk(space, 0, 0, 0, false) === WALK_RESERVED).toBe(physicalBits < 52)
      }
    }
  })

  it('are those below the size of a large leaf but PAT, PS above 1 GiB, and above 2 MiB where there are no gigapages', () => {
    for (const [depth, log2] of [
      [1, 21],
      [2, 30],
    ] as const) {
      for (let bit = 12; bit < log2; bit++)
        expect([bit, status({}, depth, page(USER | X86_PS | (1 << bit)))]).toEqual([bit, bit === 12 ? WALK_OK : WALK_RESERVED])
    }
    expect(status({ gigapages: false }, 2, page(USER | X86_PS))).toBe(WALK_RESERVED)
    for (const depth of [3, 4]) expect(status({}, depth, page(USER | X86_PS))).toBe(WALK_RESERVED)
  })

  it('are none of 62:52, of 11:8, and 63 only where execution cannot be taken away', () => {
    for (let bit = 52; bit < 63; bit++) expect(status({}, 0, page(USER, 1n << BigInt(bit - 32)))).toBe(WALK_OK)
    expect(status({}, 0, page(USER | 0xf00 | X86_PS))).toBe(WALK_OK)
    const xd = 1n << 31n
    expect(status({ noExecute: 'reserved' }, 0, page(USER, xd))).toBe(WALK_RESERVED)
    expect(status({ noExecute: 'ignored' }, 0, page(USER, xd))).toBe(WALK_OK)
    expect(status({}, 0, page(USER, xd))).toBe(WALK_OK)
  })

  it('on AMD, are G of the two levels on top too', () => {
    for (const depth of [1, 2, 3, 4]) {
      for (const walker of ['cpu', 'vtd', 'amd'] as const) {
        const over = [0n, 0n, 0n, 0n, 0n].map((_, at) => (at === depth ? BigInt(X86_G) : 0n))
        const built = build(x86Scheme(5, { walker }), 0, page(USER), {}, over)
        const expected = walker === 'amd' && depth >= 3 ? WALK_RESERVED : WALK_OK
        expect(built.walker.walk(built.space, 0, 0, 0, false)).toBe(expected)
      }
    }
  })
})

describe('rights of x86-64 entries', () => {
  const rights = (leaf: bigint, given: Partial<PtSpace> = {}, over: readonly bigint[] = [], options: X86Options = {}) => {
    const { space, walker } = build(x86Scheme(4, options), 0, leaf, given, over)
    expect(walker.walk(space, 0, 0, 0, false)).toBe(WALK_OK)
    return walker.rights
  }
  const XD = 1n << 31n

  it('need R/W and U/S, and no XD, on every level', () => {
    expect(rights(page(USER))).toBe(UR | UW | UX | PR | PW | PX)
    expect(rights(page(USER & ~X86_RW))).toBe(UR | UX | PR | PX)
    expect(rights(page(USER & ~X86_US))).toBe(PR | PW | PX)
    expect(rights(page(USER, XD))).toBe(UR | UW | PR | PW)
    for (const depth of [1, 2, 3]) {
      const over = (bits: bigint) => [0n, 0n, 0n, 0n].map((_, at) => (at === depth ? bits : 0n))
      expect(rights(page(USER), {}, over(BigInt(X86_RW)))).toBe(UR | UX | PR | PX)
      expect(rights(page(USER), {}, over(BigInt(X86_US)))).toBe(PR | PW | PX)
      expect(rights(page(USER), {}, over(1n << 63n))).toBe(UR | UW | PR | PW)
      expect(rights(page(USER), {}, over(1n << 63n), { noExecute: 'ignored' })).toBe(UR | UW | UX | PR | PW | PX)
    }
  })

  it('of supervisors depend on write protection, SMEP and SMAP', () => {
    const readOnly = page(USER & ~X86_RW)
    expect(rights(readOnly, { fix: x86Fix({ writeProtect: false }) })).toBe(UR | UX | PR | PW | PX)
    expect(rights(page(USER), { fix: x86Fix({ smep: true }) })).toBe(UR | UW | UX | PR | PW)
    expect(rights(page(USER), { fix: x86Fix({ smap: true }) })).toBe(UR | UW | UX | PX)
    // A user page only where all levels say so.
    const inKernelTable = [0n, BigInt(X86_US)]
    expect(rights(page(USER), { fix: x86Fix({ smep: true, smap: true }) }, inKernelTable)).toBe(PR | PW | PX)
    expect(rights(page(USER & ~X86_US), { fix: x86Fix({ oneSide: true }) })).toBe(UR | UW | UX | PR | PW | PX)
  })
})

describe('x86-64 tables', () => {
  it('take canonical addresses only', () => {
    for (const [levels, bit] of [
      [4, 47],
      [5, 56],
    ] as const) {
      const scheme = x86Scheme(levels)
      expect(scheme.top).toBe(TOP_SIGN)
      const { space, walker, memory } = build(scheme, 0, page(USER))
      memory.write64(space.root + 256 * 8, memory.read64(space.root))
      const top = -(2 ** (bit - 32))
      expect(walker.walk(space, top, 0, 0, false)).toBe(WALK_OK)
      expect(walker.walk(space, 2 ** (bit - 32), 0, 0, false)).toBe(WALK_INPUT_RANGE)
      expect(walker.walk(space, top | (1 << 31) | 0, 0, 0, false)).toBe(WALK_OK)
      expect(walker.walk(space, top ^ (1 << 30), 0, 0, false)).toBe(WALK_INPUT_RANGE)
    }
  })

  it('ignore PAT of a large leaf in the output', () => {
    const { space, walker } = build(x86Scheme(4), 1, page(USER | X86_PS | 0x1000))
    expect(walker.walk(space, 0, 0x12_3456, UR, false)).toBe(WALK_OK)
    expect([walker.outLo, walker.sizeLog2]).toEqual([0x4012_3456, 21])
  })

  it('of VT-d have EA set with A where EAFE is set, in tables and leaves', () => {
    for (const extendedAccessed of [false, true]) {
      const { space, memory, walker } = build(vtdFirst(4, { extendedAccessed }), 0, page(USER), {
        accessed: AD_SET,
        dirty: AD_SET,
      })
      expect(walker.walk(space, 0, 0, UW, true)).toBe(WALK_OK)
      const ea = BigInt(extendedAccessed ? X86_EA : 0)
      expect(memory.read64(TABLES)).toBe(page(USER | X86_A | X86_D) | ea)
      for (const depth of [1, 2, 3]) expect(memory.read64(TABLES * (depth + 1)) & BigInt(X86_EA)).toBe(ea)
    }
  })

  it('have one format for the same choices', () => {
    expect(x86Format()).toBe(x86Format({ walker: 'cpu', physicalBits: 52, noExecute: 'honoured' }))
    expect(amdV2(4).format).toBe(amdV2(5).format)
    expect(amdV2(4).format).not.toBe(vtdFirst(4).format)
    expect(x86Cpu(4).fix).toBe(x86Cpu(5).fix)
  })
})
