import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { bufferSource } from '../bytes.ts'
import type { Dump } from '../dump/contract.ts'
import { openDumpBytes } from '../dump/open.ts'
import { type Pages, writeElf, writeLime } from '../dump/writers.suite.ts'
import { parseBtf } from './btf.ts'
import { buildKernel, IOMMU, type KernelForm, writeBtf } from './kernel.suite.ts'
import { kernelFindings } from './linux.ts'

const always = () => true

async function dumpOf(
  form: KernelForm = {},
  info: 'note' | 'page' | 'none' = 'note',
  change = (_pages: Map<number, Uint8Array>) => {},
): Promise<Dump> {
  const { pages, vmcoreinfo } = buildKernel(form)
  const all = new Map(pages)
  if (info === 'page') {
    const page = new Uint8Array(4096)
    page.set(new TextEncoder().encode(vmcoreinfo))
    all.set(0x8000, page)
    // Another page begins like it, and says nothing.
    all.set(
      0x7000,
      new Uint8Array(4096).map((_, at) => 'OSRELEASE=x\n'.charCodeAt(at)),
    )
  }
  change(all)
  const held: Pages = all
  const bytes = info === 'note' ? writeElf(held, { machine: 62, vmcoreinfo }) : writeLime(held)
  return openDumpBytes(bufferSource('test', bytes))
}

const registers = (form: KernelForm, unit = 0) => {
  const { root } = buildKernel(form)
  const mode = form.scalable ? 0x400 : 0
  return [
    { offset: 0xb8, size: 8, value: 0x1409000n | 15n },
    { offset: 8, size: 8, value: 0xd2008c22260206n },
    { offset: 16, size: 8, value: (form.capable ?? form.scalable) ? 0x480080f00f4an : 0xf00f4an },
    { offset: 0x1c, size: 4, value: 0xc700_0000n },
    { offset: 0x20, size: 8, value: BigInt(root(unit) | mode) },
  ]
}

describe('the kernel in a dump', () => {
  it.each<KernelForm>([
    {},
    { levels: 5 },
    { scalable: true },
    { capable: true },
    { offsets: 'negative' },
    { nested: true },
    { levels: 5, scalable: true, offsets: 'negative', nested: true },
  ])('tells the registers of its IOMMU: %j', async (form) => {
    expect(kernelFindings(await dumpOf(form), always)).toEqual({
      release: '6.1.0-test',
      kind: 'vtd',
      units: [{ name: 'dmar0', registers: registers(form) }],
    })
  })

  it('is found by its VMCOREINFO in memory, where the dump has none', async () => {
    expect(kernelFindings(await dumpOf({}, 'page'), always)?.units).toEqual([{ name: 'dmar0', registers: registers({}) }])
    expect(kernelFindings(await dumpOf({}, 'none'), always)).toBe(null)
    expect(kernelFindings(await dumpOf({}, 'page'), () => false)).toBe(null)
  })

  it('tells of all its IOMMUs', async () => {
    const form = { units: 3 }
    expect(kernelFindings(await dumpOf(form), always)?.units).toEqual(
      [0, 1, 2].map((unit) => ({ name: `dmar${unit}`, registers: registers(form, unit) })),
    )
    expect(kernelFindings(await dumpOf({ units: 0 }), always)).toBe(null)
  })

  it('says nothing of interrupts where they are not remapped, and of translation where it is off', async () => {
    const [unit] = kernelFindings(await dumpOf({ command: 0 }), always)!.units
    expect(unit!.registers.map(({ offset }) => offset)).toEqual([8, 16, 0x1c, 0x20])
    expect(unit!.registers[2]!.value).toBe(0n)
  })

  it('is not believed where its list goes in a circle', async () => {
    const dump = await dumpOf({}, 'note', (pages) => {
      const { listAt } = buildKernel()
      const page = pages.get(listAt)!.slice()
      // The only unit is followed by itself.
      page.copyWithin(0x100, 0, 8)
      pages.set(listAt, page)
    })
    expect(kernelFindings(dump, always)).toBe(null)
  })

  it('is not asked where any page of it is missing or damaged', async () => {
    const good = kernelFindings(await dumpOf(), always)
    const { pages } = buildKernel()
    const addresses = [...pages.keys()]
    const damage = fc.record({
      page: fc.constantFrom(...addresses),
      at: fc.nat(4095),
      byte: fc.option(fc.nat(255), { freq: 6 }),
    })
    await fc.assert(
      fc.asyncProperty(damage, async ({ page, at, byte }) => {
        const dump = await dumpOf({}, 'note', (all) => {
          if (byte === null) all.delete(page)
          else {
            const bytes = all.get(page)!.slice()
            bytes[at] = byte
            all.set(page, bytes)
          }
        })
        const found = kernelFindings(dump, always)
        // Nothing, or what a driver's structure can hold.
        for (const { name } of found?.units ?? []) expect(name).toMatch(/^dmar\d+$/)
        if (found !== null) expect(found.units).toHaveLength(good!.units.length)
      }),
      { numRuns: 150 },
    )
  })
})

describe('BTF', () => {
  it('tells where members lie, those of unnamed unions too', () => {
    for (const nested of [false, true]) {
      const btf = parseBtf(writeBtf(nested))!
      for (const [member, offset] of Object.entries(IOMMU)) expect(btf.offset('intel_iommu', member)).toBe(offset)
      expect(btf.offset('intel_iommu', 'nothing')).toBe(null)
      expect(btf.offset('nothing', 'cap')).toBe(null)
    }
  })

  it('whose union lies in itself, many times over, ends', () => {
    const bytes = writeBtf(true)
    const view = new DataView(bytes.buffer)
    // The unnamed union is type 5, behind a u64, an array, and structures of 3 and 1 members.
    const union = 24 + 16 + 24 + (12 + 3 * 12) + (12 + 12)
    expect(view.getUint32(union + 4, true)).toBe((5 << 24) | 6)
    for (let member = union + 12; member < union + 12 + 6 * 12; member += 12) {
      view.setUint32(member, 0, true)
      view.setUint32(member + 4, 5, true)
    }
    expect(parseBtf(bytes)!.offset('intel_iommu', 'cap')).toBe(null)
    expect(parseBtf(bytes)!.offset('intel_iommu', 'bit')).toBe(0)
  })

  it('that is cut off or changed is refused, or read as far as it goes', () => {
    const whole = writeBtf(true)
    fc.assert(
      fc.property(fc.nat(whole.length - 1), fc.nat(255), fc.nat(whole.length), (at, byte, length) => {
        const bytes = whole.slice(0, length)
        if (at < length) bytes[at] = byte
        const offset = parseBtf(bytes)?.offset('intel_iommu', 'cap') ?? null
        expect(offset === null || offset >= 0).toBe(true)
      }),
    )
    expect(parseBtf(whole.subarray(0, 20))).toBe(null)
    expect(parseBtf(new Uint8Array(64))).toBe(null)
  })
})
