import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { PhysicalMemory } from '../memory/physical.ts'
import { isTranslationText, parseTranslationText } from './translation-text.ts'

/** As Documentation/ABI/testing/debugfs-intel-iommu shows it. */
const HEAD = ' IOMMU dmar1: Root Table Address: 0x1038e5000\n B.D.F   Root_entry    Context_entry    PASID   PASID_table_entry\n'
const root = '0x00000001038e7001:0x00000001038e6001'
const LOWER = ` 00:0d.0 ${root} 0x0000000000000000:0x00000001042d6001 5 0x0000000000000006:0x0000000000000007:0x0000000000000049\n`
const UPPER = ` 00:1f.0 ${root} 0x0000000000000000:0x00000001042d7001 65 0x0000000000000001:0x0000000000000002:0x0000000000000003\n`

function memoryOf(text: string): PhysicalMemory {
  return new PhysicalMemory([], parseTranslationText('t', text)[0]!.dump)
}

describe('tables in the text of debug files', () => {
  it('lie where the hardware reads them, in scalable mode', () => {
    const text = HEAD + LOWER + UPPER
    const [unit] = parseTranslationText('t', text)
    expect(unit).toMatchObject({ name: 'dmar1', pointer: { offset: 0x20, value: 0x1038e5400n } })
    expect([...unit!.devices]).toEqual([
      [0x68, { name: '00:0d.0' }],
      [0xf8, { name: '00:1f.0' }],
    ])
    const memory = memoryOf(text)
    expect([memory.read64(0x1038e5000), memory.read64(0x1038e5008)]).toEqual([0x1038e6001n, 0x1038e7001n])
    expect(memory.read64(0x1038e6000 + 0x68 * 32)).toBe(0x1042d6001n)
    expect(memory.read64(0x1038e7000 + (0xf8 & 127) * 32)).toBe(0x1042d7001n)
    // PASID 65 is entry 1 of the second table.
    const table = Number(memory.read64(0x1042d7000 + 8) & ~0xfffn)
    expect([0, 8, 16].map((word) => memory.read64(table + 64 + word))).toEqual([3n, 2n, 1n])
    expect(unit!.dump.remarks.join()).toMatch(/does not say where PASID tables lie/)
    expect(memory.answers(0x5000)).toBe(false)
  })

  it('lie where the hardware reads them, in legacy mode', () => {
    const legacy = ` 00:02.0 0x0000000000000000:0x00000001038e6001 0x0000000000000102:0x00000001038e8001 -1 ${['', '', ''].map(() => `0x${'0'.repeat(16)}`).join(':')}\n`
    const [unit] = parseTranslationText('t', HEAD + legacy)
    expect(unit!.pointer.value).toBe(0x1038e5000n)
    const memory = memoryOf(HEAD + legacy)
    expect([memory.read64(0x1038e6000 + 0x10 * 16), memory.read64(0x1038e6008 + 0x10 * 16)]).toEqual([0x1038e8001n, 0x102n])
  })

  it('of pages lie from the top table on, large pages too', () => {
    const zero = `0x${'0'.repeat(16)}`
    const page = (pfn: string, ...path: string[]) =>
      ` 0x${pfn} |\t${path.map((one) => `0x${one.padStart(16, '0')}`).join('\t')}\n`
    const text = `${HEAD}${LOWER}Device 0000:00:0d.0 with pasid 5 @0x9000\n${page('0000000000201', zero.slice(2), 'a003', 'b003', 'c003', 'd003')}${page('0000000040000', zero.slice(2), 'a003', '40000083', '0', '0')}`
    const memory = memoryOf(text)
    expect(memory.read64(0x9000)).toBe(0xa003n)
    expect(memory.read64(0xa000)).toBe(0xb003n)
    expect(memory.read64(0xb000 + 8)).toBe(0xc003n)
    expect(memory.read64(0xc000 + 8)).toBe(0xd003n)
    expect(memory.read64(0xa000 + 8)).toBe(0x40000083n)
  })

  it('are told from other texts', () => {
    expect(isTranslationText(HEAD)).toBe(true)
    expect(isTranslationText('Device 0000:00:02.0 @0x1000')).toBe(true)
    expect(isTranslationText('devices:\n  - nic')).toBe(false)
    expect(isTranslationText('DMAR: IOMMU enabled')).toBe(false)
  })

  it('do not trip over any line', () => {
    const pieces = fc.constantFrom(
      ...HEAD.split('\n'),
      LOWER,
      UPPER,
      ' Bus: 300 H: 0 L: 1',
      ' Bus: 1 H: 0 L: fffffffffffff001',
      '  16 01:02.0 ffff ffffffffffffffff',
    )
    const line = fc.oneof(
      pieces,
      fc.string(),
      pieces.map((text) => text.replaceAll('0', 'f')),
    )
    fc.assert(
      fc.property(fc.array(line), (lines) => {
        for (const { dump } of parseTranslationText('t', `${HEAD}${lines.join('\n')}`)) {
          const words = new Int32Array(1024)
          for (const { start } of dump.ranges()) expect(dump.load(start / 4096, words, 0)).toBe(true)
        }
      }),
    )
  })
})
