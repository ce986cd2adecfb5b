import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { encode, type Layout } from '../../base/layout.ts'
import type { Structure, Surroundings } from '../structure.ts'
import { CONTEXT_ENTRY, SM_CONTEXT_ENTRY } from './contexts.ts'
import { descriptorName } from './descriptor-structures.ts'
import { DESCRIPTORS } from './descriptors.ts'
import { IRTE_POSTED, IRTE_REMAPPED } from './irte.ts'
import { PASID_ENTRY } from './pasid.ts'
import { FAULT_RECORD, PAGE_REQUEST } from './records.ts'
import { VTD_STRUCTURES } from './structures.ts'

const named = (name: string): Structure => {
  const found = VTD_STRUCTURES.structures.find((structure) => structure.name === name)
  if (found === undefined) throw new RangeError(name)
  return found
}

function around(registers: Record<string, bigint> = {}): Surroundings {
  return { register: (name) => registers[name] ?? null, structure: () => null }
}

/** Remarks on a structure: `illegal: …`, `note: …`. */
function remarks(name: string, layout: Layout, values: Record<string, number | bigint>, registers: Record<string, bigint> = {}) {
  return named(name).check!(encode(layout, values as never), 0, around(registers)).map(({ kind, text }) => `${kind}: ${text}`)
}

describe('structures of Intel IOMMUs', () => {
  it('have each name once', () => {
    const names = VTD_STRUCTURES.structures.map(({ name }) => name.toUpperCase())
    expect(new Set(names).size).toBe(names.length)
    for (const name of VTD_STRUCTURES.surroundings.registers) expect(named(name).kind).toBe('register')
  })

  it('say nothing of entries that are fine', () => {
    expect(remarks('CONTEXT_ENTRY', CONTEXT_ENTRY, { P: 1, AW: 2, DID: 3 })).toEqual([])
    expect(remarks('SM_CONTEXT_ENTRY', SM_CONTEXT_ENTRY, { P: 1, DTE: 1, PRE: 1 })).toEqual([])
    expect(remarks('PASID_ENTRY', PASID_ENTRY, { P: 1, PGTT: 1, PWSNP: 1 })).toEqual([])
    expect(remarks('IRTE_REMAPPED', IRTE_REMAPPED, { P: 1, DST: 7 })).toEqual([])
  })

  it('say which fault reason an entry leads to', () => {
    expect(remarks('CONTEXT_ENTRY', CONTEXT_ENTRY, {})).toEqual(['note: not present: every request is fault reason 0x2'])
    expect(remarks('CONTEXT_ENTRY', CONTEXT_ENTRY, { P: 1, TT: 3, AW: 2 })).toEqual([
      'illegal: TT is reserved: fault reason 0x3 (LCT.4)',
    ])
    expect(remarks('SM_CONTEXT_ENTRY', SM_CONTEXT_ENTRY, { P: 1, PRE: 1 })).toEqual([
      'illegal: PRE is 1, and DTE is 0: fault reason 0x43 (SCT.4)',
    ])
    expect(remarks('PASID_ENTRY', PASID_ENTRY, { P: 1, PGTT: 0 })).toEqual([
      'illegal: PGTT is reserved: fault reason 0x5b (SPT.4)',
    ])
    expect(remarks('IRTE_REMAPPED', IRTE_REMAPPED, { P: 1, DLM: 3 })).toEqual([
      'illegal: DLM is reserved: fault reason 0x24 (24h)',
    ])
  })

  it('look at the capabilities that are given', () => {
    const entry = { P: 1, PGTT: 1, PWSNP: 1 }
    expect(remarks('PASID_ENTRY', PASID_ENTRY, entry, { ECAP: 0n })).toEqual([
      'illegal: reserved bits are set: fault reason 0x5a (SPT.3)',
    ])
    expect(remarks('CONTEXT_ENTRY', CONTEXT_ENTRY, { P: 1, AW: 2 }, { CAP: 0x682n })).toEqual([
      'note: DID is 0, which tags entries that are not present where CAP.CM is 1',
    ])
    expect(remarks('IRTE_REMAPPED', IRTE_REMAPPED, { P: 1, DST: 7 }, { IRTA: 0n })).toEqual([
      'illegal: reserved bits are set: fault reason 0x24 (24h)',
    ])
  })

  it('note what is legal, and perhaps not what was meant', () => {
    expect(remarks('PASID_ENTRY', PASID_ENTRY, { P: 1, PGTT: 1 })).toEqual([
      'note: PWSNP is 0: A and D must be set beforehand in the first stage (else SFS.9)',
    ])
    expect(remarks('page_req_dsc', PAGE_REQUEST, { TYPE: 1, PP: 1, LPIG: 1 })).toEqual([
      'note: a Stop Marker: the device stops using this PASID; it gets no response',
    ])
    expect(remarks('page_req_dsc', PAGE_REQUEST, { TYPE: 2 })).toEqual(['illegal: TYPE 2 is reserved: a page request has 1'])
    expect(remarks('FAULT_RECORD', FAULT_RECORD, { FR: 0x60 })).toEqual(['illegal: fault reason 0x60 is not defined'])
    expect(remarks('FAULT_RECORD', FAULT_RECORD, { FR: 0x71 })).toEqual([])
  })

  it('tell the two forms of interrupt entries apart', () => {
    const pick = (layout: Layout, values: Record<string, number>) => named('IRTE').pick!(encode(layout, values as never), 0)!.name
    expect(pick(IRTE_REMAPPED, { P: 1 })).toBe('IRTE_REMAPPED')
    expect(pick(IRTE_POSTED, { P: 1, IM: 1 })).toBe('IRTE_POSTED')
    expect(remarks('IRTE_REMAPPED', IRTE_REMAPPED, { P: 1, IM: 1 })).toEqual(['illegal: IM says that it has the other form'])
  })
})

describe('descriptors', () => {
  it('are told by their type, in queues of both widths', () => {
    for (const [type, layout] of Object.entries(DESCRIPTORS)) {
      const words = encode(layout, { TYPE: Number(type) } as never)
      expect(named('DESCRIPTOR').pick!(words, 0)!.layout.bits).toBe(128)
      expect(named('DESCRIPTOR_256').pick!(words, 0)).toMatchObject({ name: layout.name, layout: { bits: 256 } })
      expect(descriptorName(words)).toBe(layout.name)
      expect(named('DESCRIPTOR_256').pick!(words, 0)!.layout.fields).toBe(layout.fields)
    }
    expect(named('DESCRIPTOR').pick!(Uint32Array.of(0, 0, 0, 0), 0)).toBe(null)
    expect(descriptorName(Uint32Array.of(0xe0a))).toBe('type 0x7a')
  })

  it('are refused with reserved granularities, masks that are too large, and in queues that are too narrow', () => {
    const check = (family: string, type: number, values: Record<string, number | bigint>, registers = {}) => {
      const words = encode(DESCRIPTORS[type]!, { TYPE: type, ...values } as never)
      return named(family).pick!(words, 0)!.check!(words, 0, around(registers)).map(({ text }) => text)
    }
    expect(check('DESCRIPTOR', 1, { G: 1 })).toEqual([])
    expect(check('DESCRIPTOR', 1, { G: 0 })).toEqual(['granularity 0 is reserved'])
    expect(check('DESCRIPTOR_256', 6, { G: 1 })).toEqual(['granularity 1 is reserved'])
    expect(check('DESCRIPTOR_256', 7, { G: 2 })).toEqual(['granularity 2 is reserved'])
    expect(check('DESCRIPTOR', 2, { G: 3, AM: 19 })).toEqual(['AM 19 is larger than CAP.MAMV (18)'])
    expect(check('DESCRIPTOR', 2, { G: 2, AM: 19 })).toEqual([])
    expect(check('DESCRIPTOR', 2, { G: 3, AM: 1 }, { CAP: 0n })).toEqual(['AM 1 is larger than CAP.MAMV (0)'])
    expect(check('DESCRIPTOR', 6, { G: 2 })).toEqual(['it exists in queues of 256-bit descriptors only (IQA.DW)'])
    expect(named('iotlb_inv_dsc').check!(encode(DESCRIPTORS[1]!, { TYPE: 1 } as never), 0, around())).toMatchObject([
      { kind: 'illegal', text: 'the type says cc_inv_dsc' },
    ])
  })
})

describe('any words of any structure', () => {
  it('are remarked upon without a crash', () => {
    for (const structure of VTD_STRUCTURES.structures) {
      const size = structure.layout.bits / 32
      fc.assert(
        fc.property(
          fc.uint32Array({ minLength: size, maxLength: size }),
          fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
          (words, register) => {
            const surroundings = around({ CAP: register, ECAP: ~register & ((1n << 64n) - 1n), IRTA: register })
            const picked = structure.pick === undefined ? structure : structure.pick(words, 0)
            picked?.check?.(words, 0, surroundings)
          },
        ),
        { numRuns: 10 },
      )
    }
  })
})
