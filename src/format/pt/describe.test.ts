import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { getField, maskIn } from '../../base/layout.ts'
import { AMD_V1 } from './amd-v1.ts'
import { describeEntry } from './describe.ts'
import { ENTRY_ABSENT, ENTRY_LEAF, ENTRY_TABLE, outputOf } from './entry.ts'
import type { PtFormat } from './format.ts'
import { vmsav8 } from './vmsav8.ts'
import { vmsav8Entry } from './vmsav8-entries.ts'
import { vtdSecondFormat } from './vtd-second.ts'
import { x86Format } from './x86.ts'
import { x86Entry } from './x86-entries.ts'

const formats = ([12, 14, 16] as const).flatMap((granule) =>
  (['el1', 'el2', 'stage2', 'stage2-xnx'] as const).flatMap((regime) => [vmsav8(granule, regime), vmsav8(granule, regime, true)]),
)
const word = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 })

describe('entries of VMSAv8-64 tables', () => {
  it('have the output address that the walker takes', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...formats),
        fc.constantFrom<'table' | 'leaf'>('table', 'leaf'),
        word,
        word,
        (format, kind, hi, lo) => {
          const { fields } = vmsav8Entry(format, kind)!
          const words = Uint32Array.of(lo, hi)
          const part = (name: string, shift: bigint) =>
            fields[name] === undefined ? 0n : BigInt(getField(words, fields[name])) << shift
          expect(part('OA', 0n) | part('OA_51_48', 48n) | part('OA_51_50', 50n)).toBe(BigInt(outputOf(format, hi, lo)))
        },
      ),
    )
  })

  it('have the bits that decide a walk where the walker has them', () => {
    const at = (format: PtFormat, name: string, half: 0 | 1) => maskIn(vmsav8Entry(format, 'leaf')!.fields[name]!, half)
    for (const format of formats) {
      expect(at(format, 'Valid', 0)).toBe(format.present)
      expect(at(format, 'AF', 0)).toBe(format.accessed)
      expect(at(format, 'DBM', 1)).toBe(format.dirtyManagedHi)
      expect(at(format, 'Contiguous', 1)).toBe(format.contiguousHi)
      const { loShift, loMask, hiShift, hiMask } = format.leafRights
      const stage2 = format.name.includes('stage 2')
      expect(at(format, stage2 ? 'S2AP' : 'AP', 0)).toBe(loMask << loShift)
      expect(stage2 ? at(format, 'XN', 1) : at(format, 'PXN', 1) | at(format, 'UXN', 1)).toBe(hiMask << hiShift)
    }
    const { fields } = vmsav8Entry(vmsav8(12, 'el1'), 'table')!
    const limits = maskIn(fields.PXNTable!, 1) | maskIn(fields.UXNTable!, 1) | maskIn(fields.APTable!, 1)
    const { hiShift, hiMask } = vmsav8(12, 'el1').tableRights
    expect(limits).toBe(hiMask << hiShift)
  })

  it('are described when they are valid, and not otherwise', () => {
    const format = vmsav8(12, 'el1')
    const said = describeEntry(format, ENTRY_LEAF, 0, 0x600000, 0x466f6fc7).filter(({ value }) => value)
    expect(said.map(({ name, value, means }) => [name, value, means])).toEqual([
      ['Valid', 1, null],
      ['Type', 1, 'page'],
      ['AttrIndx', 1, null],
      ['AP', 3, 'read-only'],
      ['SH', 3, 'inner shareable'],
      ['AF', 1, null],
      ['nG', 1, null],
      ['OA', 0x466f6000n, null],
      ['PXN', 1, null],
      ['UXN', 1, null],
    ])
    expect(describeEntry(format, ENTRY_TABLE, 0, 0, 0x44e01003).find(({ name }) => name === 'Type')?.means).toBe('table')
    expect(describeEntry(format, ENTRY_ABSENT, 0, 0, 0x44e01002)).toEqual([])
    expect(describeEntry({ ...format, name: 'another' }, ENTRY_LEAF, 0, 0, 3)).toEqual([])
  })
})

describe('entries of x86-64, VT-d and AMD tables', () => {
  const all = [
    x86Format(),
    x86Format({ walker: 'vtd', extendedAccessed: true }),
    x86Format({ walker: 'amd', physicalBits: 48 }),
    vtdSecondFormat({ execute: true }),
    AMD_V1,
  ]
  const mask = (format: PtFormat, kind: 'table' | 'leaf', depth: number, half: 0 | 1, names: readonly string[]) =>
    names.reduce((bits, name) => bits | maskIn(x86Entry(format, kind, depth)!.fields[name]!, half), 0)

  it('have the output address that the walker takes', () => {
    fc.assert(
      fc.property(fc.constantFrom(...all), fc.constantFrom(0, 1, 2), word, word, (format, depth, hi, lo) => {
        for (const kind of ['table', 'leaf'] as const) {
          const { fields } = x86Entry(format, kind, depth)!
          const place = fields.ADDR ?? fields.Address!
          const output = BigInt(outputOf(format, hi, lo))
          expect(getField(Uint32Array.of(lo, hi), place)).toBe((output >> BigInt(place.lsb)) << BigInt(place.lsb))
        }
      }),
    )
  })

  it('have the bits that decide a walk where the walker has them', () => {
    const rights = { 'AMD v1': ['IR', 'IW'], 'VT-d second stage': ['R', 'W', 'X'] }
    for (const format of all) {
      const names = rights[format.name as keyof typeof rights] ?? ['RW', 'US', 'XD']
      for (const [kind, field] of [
        ['leaf', format.leafRights],
        ['table', format.tableRights],
      ] as const) {
        expect(mask(format, kind, 0, 0, names)).toBe(field.loMask << field.loShift)
        expect(mask(format, kind, 0, 1, names)).toBe(field.hiMask << field.hiShift)
      }
      const used = x86Entry(format, 'leaf', 0)!.fields.EA === undefined ? ['A'] : ['A', 'EA']
      expect([mask(format, 'leaf', 0, 0, used), mask(format, 'table', 1, 0, used)]).toEqual([format.accessed, format.accessed])
      expect(mask(format, 'leaf', 0, 0, ['D'])).toBe(format.dirty)
      if (format.leafMask !== 0) expect(mask(format, 'leaf', 1, 0, ['PS'])).toBe(format.leafMask)
      const { P, PR } = x86Entry(format, 'leaf', 0)!.fields
      if (P ?? PR) expect(maskIn((P ?? PR)!, 0)).toBe(format.present)
    }
  })

  it('have no field where the walker wants zeros', () => {
    for (const format of all) {
      for (const depth of [0, 1, 2, 3, 4]) {
        for (const kind of ['leaf', 'table'] as const) {
          if (kind === 'leaf' && ((format.leafDepths >>> depth) & 1) === 0) continue
          const reserved =
            kind === 'leaf' ? [format.reservedLeafLo, format.reservedLeafHi] : [format.reservedTableLo, format.reservedTableHi]
          for (const [name, field] of Object.entries(x86Entry(format, kind, depth)!.fields)) {
            // Address bits above the width are part of the field, as in the manual; TM is there in some implementations only.
            if (name === 'ADDR' || name === 'Address' || name === 'TM') continue
            expect([name, maskIn(field, 0) & reserved[0]![depth]!, maskIn(field, 1) & reserved[1]![depth]!]).toEqual([name, 0, 0])
          }
        }
      }
    }
  })

  it('say what a large leaf has elsewhere', () => {
    const names = (depth: number, lo: number) =>
      describeEntry(x86Format(), ENTRY_LEAF, depth, 0, lo)
        .filter(({ value }) => value)
        .map(({ name, value }) => `${name} ${value}`)
    expect(names(0, 0x40001087)).toEqual(['P 1', 'RW 1', 'US 1', 'PAT 1', `ADDR ${0x40001000}`])
    expect(names(1, 0x40001087)).toEqual(['P 1', 'RW 1', 'US 1', 'PS 1', 'PAT 1', `ADDR ${0x40000000}`])
    const amd = describeEntry(AMD_V1, ENTRY_LEAF, 0, 0x60000000, 0x7e01)
    expect(amd.find(({ name }) => name === 'NextLevel')?.means).toBe('leaf whose address says its size')
    expect(x86Entry(vmsav8(12, 'el1'), 'leaf', 0)).toBeNull()
  })
})
