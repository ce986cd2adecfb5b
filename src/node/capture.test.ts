import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, describe, expect, it } from 'vitest'
import { openCapture, requesterId } from './capture.ts'
import { InputError } from './errors.ts'
import { factNumber, factWords, parseSide } from './side.ts'
import { readUnpacked } from './unpack.ts'

const fixture = join(import.meta.dirname, '../../test/fixtures/arm64-smmuv3-s1')
const captures = join(import.meta.dirname, '../../../shared/captures')
const folder = mkdtempSync(join(tmpdir(), 'iomm-capture-'))
afterAll(() => rmSync(folder, { recursive: true }))

describe('captures', () => {
  it('opens one: memory, registers, devices, expectations', async () => {
    const capture = await openCapture(fixture)
    expect(capture.title).toBe('arm64-smmuv3-s1')
    expect(capture.iommu).toBe('smmuv3')
    expect(capture.core.machine).toBe(183)
    expect(capture.register(0x80, 8)).toBe(0x4000000044b72000n)
    expect(capture.register(0x88, 4)).toBe(0x10210n)
    expect(capture.register(0x80, 4)).toBe(0x44b72000n)
    expect(capture.register(0x84, 4)).toBe(0x40000000n)
    expect(capture.register(0x1234, 4)).toBeNull()
    expect(capture.names.devices?.get(0x30)).toEqual({
      name: '0000:00:06.0',
      detail: 'iommulab, 1b36:0005, group 5',
      pci: { vendor: 0x1b36, device: 5, driver: 'iommulab', iommu_group: 5 },
    })
    // First-level stream table entry 0: 2^8 entries at 0x44b7c000.
    expect(capture.memory.read64(0x44b72000) & 0x1fn).toBe(9n)
    expect(capture.memory.answers(0x40000000)).toBe(false)
    expect(capture.side.expected.length).toBe(784)
    const facts = capture.side.tables['0000:00:06.0']!
    expect(factNumber(facts, 'config')).toBe(5n)
    expect(factWords(facts, 'ste')?.[0]).toBe(0x4491500bn)
    expect(factWords(facts, 'dte')).toBeNull()
  })

  it('opens every capture that has memory', async ({ skip }) => {
    if (!existsSync(captures)) skip('../shared/captures is not here')
    for (const name of readdirSync(captures)) {
      if (!existsSync(join(captures, name, 'tables.elf.gz'))) continue
      const capture = await openCapture(join(captures, name))
      expect(capture.core.segments.length, name).toBeGreaterThan(0)
      expect(capture.side.registers.length, name).toBeGreaterThan(0)
    }
  })

  it('names what is missing', async () => {
    await expect(openCapture(join(folder, 'nowhere'))).rejects.toThrow(/nowhere: no such file or folder/)
    const empty = join(folder, 'empty')
    mkdirSync(empty)
    await expect(openCapture(empty)).rejects.toThrow(/holds no side\.json\.gz/)
    writeFileSync(join(empty, 'side.json'), JSON.stringify({ iommu: 'smmuv3', registers: [] }))
    await expect(openCapture(empty)).rejects.toThrow(/holds no tables\.elf\.gz/)
    writeFileSync(join(empty, 'tables.elf'), 'no ELF')
    await expect(openCapture(empty)).rejects.toThrow(/tables\.elf at offset 0x0: an ELF header/)
    await expect(openCapture(join(empty, 'side.json'))).rejects.toThrow(/is a file; a capture is a folder/)
  })
})

describe('packed files', () => {
  it('unpacks gzip, and takes plain files as they are', async () => {
    const path = join(folder, 'text.gz')
    writeFileSync(path, gzipSync('hello'))
    expect(new TextDecoder().decode(await readUnpacked(path))).toBe('hello')
    writeFileSync(path, 'plain')
    expect(new TextDecoder().decode(await readUnpacked(path))).toBe('plain')
  })

  it('refuses what unpacks to more than the limit, before it takes the memory', async () => {
    const path = join(folder, 'bomb.gz')
    writeFileSync(path, gzipSync(new Uint8Array(1 << 22)))
    await expect(readUnpacked(path, 1 << 20)).rejects.toThrow(/bomb\.gz: unpacks to more than 1 MiB/)
  })

  it('names damaged and missing files', async () => {
    const path = join(folder, 'cut.gz')
    writeFileSync(path, gzipSync(new Uint8Array(5000).fill(7)).subarray(0, 20))
    await expect(readUnpacked(path)).rejects.toThrow(
      /cut\.gz at offset 0x14: is damaged at or before this place: gzip says 'unexpected end of file'/,
    )
    await expect(readUnpacked(join(folder, 'none.gz'))).rejects.toThrow(/none\.gz: no such file/)
    await expect(readUnpacked(folder)).rejects.toThrow(InputError)
  })
})

describe('side.json', () => {
  const minimal = { iommu: 'smmuv3', registers: [{ name: 'IDR0', offset: '0x0', size: 4, value: '0x1b' }] }
  const parse = (change: object) => () => parseSide('side.json', JSON.stringify({ ...minimal, ...change }))

  it('reads numbers written in either way', () => {
    const side = parse({ expected: [{ devid: '0x30', iova: 4096, pa: '0x2000' }] })()
    expect(side.expected[0]).toMatchObject({ devid: 48, iova: 4096n, pa: 8192n })
  })

  it.each<[object, RegExp]>([
    [{ registers: [{ name: 'A', offset: 0, size: 3, value: 1 }] }, /side\.json at \$\.registers\[0\]\.size: expected 4 or 8/],
    [{ registers: [{ name: 'A', offset: 0, size: 4, value: 'much' }] }, /at \$\.registers\[0\]\.value: expected a whole number/],
    [{ registers: [{ name: 'A', offset: 0, size: 4, value: 2 ** 60 }] }, /at \$\.registers\[0\]\.value: expected a whole number/],
    [
      { registers: [{ name: 'A', offset: 0, size: 4, value: `0x1${'0'.repeat(16)}` }] },
      /\.value: expected a number from 0 to 2\^64/,
    ],
    [{ registers: 'none' }, /at \$\.registers: /],
    [{ iommu: undefined }, /side\.json at \$\.iommu: is missing/],
    [{ iommu: undefined, endpoints: { 0: 1 }, mappings: {} }, /side\.json: .*virtio-iommu, which has no tables in memory/],
    [{ expected: [{ devid: 1, pa: 1 }] }, /at \$\.expected\[0\]\.iova: is missing/],
    [{ iommu: 3 }, /at \$\.iommu: expected the kind of IOMMU/],
    [{ expected: [{ devid: 1, iova: 1, pa: 1, pasid: 2 ** 20 }] }, /at \$\.expected\[0\]\.pasid: expected a PASID below 2\^20/],
    [{ guest_dma: [{ devid: 1, iova: 1, pa: 1, access: 'q' }] }, /at \$\.guest_dma\[0\]\.access: expected 'r', 'w'/],
    [
      { kernel_mappings: [{ devid: 1, iova: 1, pa: 1, size: 0 }] },
      /at \$\.kernel_mappings\[0\]\.size: expected at least one byte/,
    ],
    [{ pci: [{ bdf: '6.0' }] }, /at \$\.pci\[0\]\.bdf: expected a PCI address like/],
  ])('says which value is wrong: %j', (change, message) => {
    expect(parse(change)).toThrow(message)
  })

  it('says that a file is no JSON', () => {
    expect(() => parseSide('side.json', '{"iommu": ')).toThrow(/side\.json: is no JSON/)
  })
})

describe('requester ids', () => {
  it.each<[string, number | null]>([
    ['0000:00:06.0', 0x30],
    ['00:06.0', 0x30],
    ['0000:02:1f.7', 0x2ff],
    ['0001:00:00.0', 0x10000],
    ['0000:00:20.0', null],
    ['6.0', null],
  ])('%s is %s', (bdf, id) => expect(requesterId(bdf)).toBe(id))
})
