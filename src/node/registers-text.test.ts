import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { chosenUnit, isRegisterText, parseRegisterText } from './registers-text.ts'

/** As Documentation/ABI/testing/debugfs-intel-iommu shows it: indented, a blank line under the name. */
const SAMPLE = `
 IOMMU: dmar0 Register Base Address: 26be37000

 Name                    Offset          Contents
 VER                     0x00            0x0000000000000010
 GSTS                    0x1c            0x00000000c7000000
 RTADDR                  0x20            0x0000000103027400
 VCRSP                   0xe10           0x0000000100000000

 IOMMU: dmar1 Register Base Address: fed90000

 Name                    Offset          Contents
 RTADDR                  0x20            0x0000000103028000
`

describe('registers in the text of debug files', () => {
  it('are read by IOMMU, each with offset and value', () => {
    const units = parseRegisterText(SAMPLE)
    expect(units.map(({ name, kind, registers }) => [name, kind, registers.length])).toEqual([
      ['dmar0', 'vtd', 4],
      ['dmar1', 'vtd', 1],
    ])
    expect(units[0]!.registers).toEqual([
      { name: 'VER', offset: 0, value: 0x10n },
      { name: 'GSTS', offset: 0x1c, value: 0xc7000000n },
      { name: 'RTADDR', offset: 0x20, size: 8, value: 0x103027400n },
      { name: 'VCRSP', offset: 0xe10, size: 8, value: 1n << 32n },
    ])
  })

  it("are read from lines of AMD's, with the file's name before them or not", () => {
    const plain = parseRegisterText('Offset:0x18 Value:0x000c00000003148f\nOffset:0x4 Value:0xfeb80001\n')
    expect(plain).toEqual([
      { name: '', kind: 'amdvi', registers: [{ name: '0x18', offset: 0x18, size: 8, value: 0xc00000003148fn }] },
    ])
    const named =
      '/sys/kernel/debug/iommu/amd/iommu00/mmio:Offset:0x0 Value:0x0000000001000003\namd/iommu01/mmio:Offset:0x0 Value:0x0000000002000003'
    expect(parseRegisterText(named).map(({ name, registers }) => [name, registers[0]!.value])).toEqual([
      ['iommu00', 0x1000003n],
      ['iommu01', 0x2000003n],
    ])
  })

  it('are told from other texts', () => {
    expect(isRegisterText(SAMPLE)).toBe(true)
    expect(isRegisterText('Offset:0x18 Value:0x000c00000003148f')).toBe(true)
    for (const text of [
      '',
      '{}',
      '[{"name":"CAP","value":1}]',
      'DMAR: dmar0: reg_base_addr fed90000 ver 1:0',
      'Offset:0x4 Value:0xfeb80001',
    ])
      expect(isRegisterText(text)).toBe(false)
  })

  it('of one IOMMU are chosen by its name, or because it is the only one', () => {
    const units = parseRegisterText(SAMPLE)
    expect(chosenUnit('f', units, 'dmar1').registers).toHaveLength(1)
    expect(chosenUnit('f', units.slice(1), null).name).toBe('dmar1')
    expect(() => chosenUnit('f', units, null)).toThrow(/f: is of 2 IOMMUs, dmar0, dmar1: choose one with --unit dmar0/)
    expect(() => chosenUnit('f', units, 'dmar2')).toThrow(/no IOMMU 'dmar2': it has dmar0, dmar1/)
    expect(() => chosenUnit('f', [], null)).toThrow(/none of its registers/)
  })

  it('whatever else the text holds', () => {
    const line = fc.oneof(fc.constantFrom(...SAMPLE.split('\n')), fc.string())
    fc.assert(
      fc.property(fc.array(line), (lines) => {
        for (const { registers } of parseRegisterText(lines.join('\n')))
          for (const { value, size } of registers) expect(value >> BigInt((size ?? 4) * 8)).toBe(0n)
      }),
    )
  })
})
