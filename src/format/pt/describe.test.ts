import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { getField, maskIn } from '../../base/layout.ts'
import { describeEntry } from './describe.ts'
import { ENTRY_ABSENT, ENTRY_LEAF, ENTRY_TABLE, outputOf } from './entry.ts'
import type { PtFormat } from './format.ts'
import { vmsav8 } from './vmsav8.ts'
import { vmsav8Entry } from './vmsav8-entries.ts'

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
    const said = describeEntry(format, ENTRY_LEAF, 0x600000, 0x466f6fc7).filter(({ value }) => value)
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
    expect(describeEntry(format, ENTRY_TABLE, 0, 0x44e01003).find(({ name }) => name === 'Type')?.means).toBe('table')
    expect(describeEntry(format, ENTRY_ABSENT, 0, 0x44e01002)).toEqual([])
    expect(describeEntry({ ...format, name: 'another' }, ENTRY_LEAF, 0, 3)).toEqual([])
  })
})
