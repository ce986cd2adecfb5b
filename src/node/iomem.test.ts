import { describe, expect, it } from 'vitest'
import { parseIomem } from './iomem.ts'

describe('/proc/iomem', () => {
  it('is read with its nested regions, end exclusive', () => {
    expect(
      parseIomem([
        '40000000-7fffffff : System RAM',
        '  40200000-4270ffff : Kernel code',
        'b0000000-bfffffff : PCI ECAM 0000 [bus 00-ff]',
      ]),
    ).toEqual([
      { start: 0x4000_0000n, end: 0x8000_0000n, name: 'System RAM' },
      { start: 0x4020_0000n, end: 0x4271_0000n, name: 'Kernel code' },
      { start: 0xb000_0000n, end: 0xc000_0000n, name: 'PCI ECAM 0000 [bus 00-ff]' },
    ])
  })

  it('says nothing where the kernel hides the addresses, and passes over other lines', () => {
    expect(
      parseIomem([
        '00000000-00000000 : System RAM',
        '  00000000-00000000 : Kernel code',
        'nonsense',
        '',
        '2000-1000 : backwards',
      ]),
    ).toEqual([])
  })
})
