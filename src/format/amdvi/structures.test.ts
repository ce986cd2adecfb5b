import { describe, expect, it } from 'vitest'
import { encode, type Words, wordsFromU64 } from '../../base/layout.ts'
import type { Surroundings } from '../structure.ts'
import { illegalCommand } from './command-rules.ts'
import { COMPLETE_PPR_REQUEST, INVALIDATE_IOMMU_ALL, INVALIDATE_IOTLB_PAGES, OP_PREFETCH_IOMMU_PAGES } from './commands.ts'
import { DTE } from './dte.ts'
import { anyFeatures } from './features.suite.ts'
import { AMDVI_STRUCTURES } from './structures.ts'

const around = (registers: Record<string, bigint> = {}): Surroundings => ({
  register: (name) => registers[name] ?? null,
  structure: () => null,
})
const named = (name: string) => AMDVI_STRUCTURES.structures.find((structure) => structure.name === name)!
const says = (name: string, words: Words, registers = {}) =>
  named(name).check!(words, 0, around(registers)).map(({ kind, text }) => `${kind}: ${text}`)
type Dte = Parameters<typeof encode<typeof DTE.fields>>[1]
const dte = (values: Dte) => encode(DTE, { V: 1, TV: 1, IR: 1, IW: 1, IV: 1, IntCtl: 2, ...values })

describe('structures', () => {
  it('have names of their own', () => {
    const names = AMDVI_STRUCTURES.structures.map(({ name }) => name)
    expect(new Set(names).size).toBe(names.length)
  })

  it('DTE: says which rule is broken, in both halves', () => {
    expect(says('DTE', dte({ Mode: 7, IntTabLen: 15 }))).toEqual([
      'illegal: Mode is 7, which is reserved',
      'illegal: IntTabLen is above 11, which is reserved',
    ])
    expect(says('DTE', dte({ Mode: 6 }))).toEqual([])
    expect(says('DTE', dte({ Mode: 6 }), { EXT_FEATURE: 0n })).toEqual(['illegal: Mode has more levels than EXT_FEATURE.HATS'])
  })

  it.each<[Dte, string]>([
    [{ V: 0 }, 'V is 0: addresses pass untranslated'],
    [{ TV: 0 }, 'TV is 0: what needs a translation is aborted'],
    [{}, 'Mode is 0: requests without PASID pass untranslated (reads and writes)'],
    [{ IW: 0 }, 'Mode is 0: requests without PASID pass untranslated (reads)'],
    [{ Mode: 3, IR: 0 }, 'IR and IW let through writes'],
    [{ GV: 1, GIOV: 1 }, 'GIOV is 1: requests without PASID use GCR3 entry 0'],
    [{ Mode: 3, GIOV: 1 }, 'GV is 0: GIOV says nothing'],
    [{ Mode: 3, IV: 0 }, 'IV is 0: interrupts pass unmapped'],
  ])('DTE %j: a remark', (given, text) => {
    expect(says('DTE', dte(given))).toEqual([`note: ${text}`])
  })

  it('DTE: nested tables say which addresses are whose', () => {
    expect(says('DTE', dte({ Mode: 3, GV: 1 }))).toEqual([
      'note: GIOV is 0: requests without PASID use the host tables',
      'note: nested: GCR3 entries hold guest physical addresses; the GCR3 table itself is at a system physical address (CONTROL.GCR3TRPMode is 0)',
    ])
    expect(says('DTE', dte({ Mode: 3, GV: 1 }), { CONTROL: 1n })).toContain('note: CONTROL.GTEn is 0: GV counts as 0')
  })

  it('families are told by opcode and event code', () => {
    const command = named('COMMAND_ENTRY').pick!(wordsFromU64([0x7000000500000030n, 4n]), 0)
    expect(command?.name).toBe('COMPLETE_PPR_REQUEST')
    expect(named('COMMAND_ENTRY').pick!(wordsFromU64([0xf000000000000000n, 0n]), 0)).toBeNull()
    expect(named('EVENT_ENTRY').pick!(wordsFromU64([0x2000000000000000n, 0n]), 0)?.name).toBe('IO_PAGE_FAULT')
    expect(named('EVENT_ENTRY').pick!(wordsFromU64([0n, 0n]), 0)).toBeNull()
    expect(says('IO_PAGE_FAULT', wordsFromU64([0x1000000000000000n, 0n]))).toEqual([
      'illegal: bits 63:60 are 1: that is ILLEGAL_DEV_TABLE_ENTRY',
    ])
  })

  it('INVALID_DEVICE_REQUEST: Type in words, by TR', () => {
    expect(says('INVALID_DEVICE_REQUEST', wordsFromU64([0x8200000000000000n, 0n]))).toEqual([
      'note: Type 1: a translated request, and DTE.I or DTE.V is 0',
    ])
    expect(says('INVALID_DEVICE_REQUEST', wordsFromU64([0x8100000000000000n, 0n]))[0]).toContain(
      'a translation request, and DTE.I',
    )
  })

  it('interrupt remapping entries: which form it is, and what is reserved', () => {
    expect(says('IRTE', Uint32Array.of(0x81, 0, 0, 0))).toEqual(['illegal: GuestMode is 1: that is IRTE_GUEST'])
    expect(says('IRTE_GUEST', Uint32Array.of(0x01, 0, 0, 0))).toEqual(['illegal: GuestMode is 0: that is IRTE'])
    expect(says('IRTE32', Uint32Array.of(0x80))).toEqual(['note: RemapEn is 0: the interrupt is aborted'])
    expect(says('IRTE32', Uint32Array.of(0x15))).toEqual(['illegal: IntType 5 is reserved'])
    expect(says('IRTE_GUEST', Uint32Array.of(0x81, 0, 0, 0))).toEqual([])
  })
})

describe('commands', () => {
  it('are illegal with a reserved opcode or a reserved bit, and without the feature that they need', () => {
    const why = (words: Words, efr = {}) => illegalCommand(words, 0, anyFeatures(efr))
    const all = encode(INVALIDATE_IOMMU_ALL, { OpCode: 8 })
    expect(why(all)).toBeNull()
    expect(why(all, { IASup: 0 })).toMatch(/^EXT_FEATURE.IASup is 0/)
    expect(why(Uint32Array.of(0, 0x80000000, 0, 1))).toBe('reserved bits are set')
    expect(why(Uint32Array.of(0, 0xb0000000, 0, 0))).toBe('opcode 11 is reserved')
    expect(why(Uint32Array.of(0, 0, 0, 0))).toBe('opcode 0 is reserved')
    expect(why(encode(COMPLETE_PPR_REQUEST, { OpCode: 7 }), { PPRSup: 0 })).toMatch(/PPRSup is 0/)
    expect(why(Uint32Array.of(0, OP_PREFETCH_IOMMU_PAGES << 28, 0, 0), { PreFSup: 0 })).toMatch(/PreFSup is 0/)
    const pages = encode(INVALIDATE_IOTLB_PAGES, { OpCode: 4, GN: 1, Type: 1 })
    expect(why(pages)).toBeNull()
    expect(why(pages, { GTSup: 0 })).toBe('EXT_FEATURE.GTSup is 0 and GN is 1')
    expect(why(pages, { InvIotlbTypeSup: 0 })).toBe('EXT_FEATURE.InvIotlbTypeSup is 0 and Type is not')
    for (const opcode of [9, 10]) expect(why(Uint32Array.of(0, opcode << 28, 0, 0))).toMatch(/VIommuSup is 0/)
  })
})
