import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import * as fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import { PhysicalMemory } from '../../memory/physical.ts'
import { bufferSource } from '../bytes.ts'
import { InputError } from '../errors.ts'
import type { Dump } from './contract.ts'
import { openDump, openDumpBytes } from './open.ts'
import { type Pages, packZstd, writeElf, writeFlattened, writeKdump, writeLime, writeRaw } from './writers.suite.ts'

const folder = mkdtempSync(join(tmpdir(), 'iomm-forms-'))
afterAll(() => rmSync(folder, { recursive: true }))

const BASE = 0x4000_0000
/** A page by its seed: of zeros, of one byte, of pointers as tables have them, of anything. */
function pageOf(seed: number): Uint8Array {
  const page = new Uint8Array(4096)
  if (seed % 4 === 1) page.fill(seed)
  if (seed % 4 === 2) for (let at = seed % 8; at < 4096; at += 8) page[at] = at >> 3
  if (seed % 4 === 3) for (let at = 0; at < 4096; at++) page[at] = (at * at * seed) >> 5
  return page
}
/** Page numbers and seeds; gaps between. */
const somePages = fc
  .uniqueArray(fc.tuple(fc.nat(300), fc.nat(255)), { minLength: 1, maxLength: 12, selector: ([number]) => number })
  .map((list): Pages => new Map(list.map(([number, seed]) => [BASE + number * 4096, pageOf(seed)])))

interface Form {
  readonly name: string
  write(pages: Pages): Uint8Array
  /** What a page that was not written reads as: absent, zero, or zero within the larger page that holds it. */
  readonly others?: 'absent' | 'zero' | number
}

const shuffled = (count: number) =>
  Array.from({ length: count }, (_, index) => (index * 7919) % count).filter(
    (_, index, all) => all.indexOf(all[index]!) === index,
  )
const once = (numbers: number[], count: number) => [
  ...numbers,
  ...Array.from({ length: count }, (_, index) => index).filter((index) => !numbers.includes(index)),
]

const FORMS: Form[] = [
  { name: 'ELF core', write: (pages) => writeElf(pages) },
  {
    name: "ELF core as QEMU's, unaligned",
    write: (pages) => writeElf(pages, { phoff: 192, gap: 0x2f4, vmcoreinfo: 'OSRELEASE=6.12.48\n' }),
  },
  { name: 'ELF core with its number of segments in a section header', write: (pages) => writeElf(pages, { xnum: true }) },
  { name: 'ELF core of a 32-bit machine', write: (pages) => writeElf(pages, { bits: 32, machine: 40, phoff: 52, gap: 3 }) },
  { name: 'ELF core that leaves out pages', write: (pages) => writeElf(pages, { left: 0x3000 }) },
  ...(['none', 'zlib', 'lzo', 'snappy', 'zstd'] as const).map(
    (packing): Form => ({
      name: `kdump-compressed, ${packing}`,
      write: (pages) => writeKdump(pages, { packing }),
    }),
  ),
  ...[1, 2, 3, 4, 5].map(
    (version): Form => ({
      name: `kdump-compressed, header version ${version}`,
      write: (pages) => writeKdump(pages, { version }),
    }),
  ),
  { name: 'kdump-compressed with one bitmap', write: (pages) => writeKdump(pages, { oneBitmap: true }) },
  { name: 'kdump-compressed, incomplete by its header', write: (pages) => writeKdump(pages, { incomplete: true }) },
  {
    name: 'kdump-compressed with pages of 64 KiB',
    write: (pages) => writeKdump(pages, { packing: 'lzo', blockSize: 65536 }),
    others: 65536,
  },
  { name: 'kdump-compressed, flattened', write: (pages) => writeFlattened(writeKdump(pages)) },
  {
    name: 'kdump-compressed, flattened, records out of order',
    write: (pages) => writeFlattened(writeKdump(pages, { packing: 'snappy' }), 777, (count) => once(shuffled(count), count)),
  },
  {
    name: 'ELF core, flattened, records twice',
    write: (pages) => writeFlattened(writeElf(pages), 4096, (count) => once([count - 1, 0, 0], count).concat(0)),
  },
  { name: 'LiME', write: writeLime },
]

const open = (bytes: Uint8Array, base?: number) =>
  openDumpBytes(bufferSource('test.dump', bytes), base === undefined ? {} : { base })

/** The page at an address, or null where the dump holds none. */
function pageAt(memory: PhysicalMemory, pa: number): Uint8Array | null {
  return memory.answers(pa) ? memory.read(pa, 4096) : null
}

function expectPages(dump: Dump, pages: Pages, others: Form['others'] = 'absent') {
  const memory = new PhysicalMemory([], dump)
  const blocks = typeof others === 'number' ? new Set([...pages.keys()].map((pa) => Math.floor(pa / others))) : null
  for (let pa = BASE - 8192; pa < BASE + 302 * 4096; pa += 4096) {
    const expected = pages.get(pa) ?? (blocks?.has(Math.floor(pa / (others as number))) ? new Uint8Array(4096) : null)
    const actual = pageAt(memory, pa)
    if (expected === null) expect(actual, `page ${pa.toString(16)}`).toBeNull()
    else expect(actual !== null && Buffer.compare(actual, expected) === 0, `page ${pa.toString(16)}`).toBe(true)
  }
}

describe.each(FORMS)('$name', ({ write, others = 'absent' }) => {
  it('gives back the pages that were written, and nothing else', async () => {
    await fc.assert(
      fc.asyncProperty(somePages, async (pages) => {
        const dump = await open(write(pages))
        expectPages(dump, pages, others)
        const held = [...dump.ranges()].reduce((sum, { start, end }) => sum + end - start, 0)
        const blocks =
          typeof others === 'number' ? new Set([...pages.keys()].map((pa) => Math.floor(pa / others))).size * others : 0
        expect(held).toBe(blocks === 0 ? pages.size * 4096 : blocks)
      }),
      { numRuns: 8 },
    )
  })

  const three: Pages = new Map([
    [BASE, pageOf(2)],
    [BASE + 4096, pageOf(3)],
    [BASE + 0x9000, pageOf(7)],
  ])
  /** Opens and reads all of it: what is wrong must be told by an InputError that names a place. */
  async function attempt(bytes: Uint8Array): Promise<(Uint8Array | null)[] | InputError> {
    try {
      const dump = await open(bytes)
      const memory = new PhysicalMemory([], dump)
      let ranges = 0
      for (const _ of dump.ranges()) if (++ranges > 1000) break
      expect(dump.remarks.length).toBeLessThan(5)
      return [...three.keys()].map((pa) => pageAt(memory, pa))
    } catch (error) {
      if (!(error instanceof InputError)) throw error
      expect(error.message).toMatch(/^test\.dump( \(rearranged\))? at offset 0x/)
      return error
    }
  }
  const right = [...three.values()]

  it('cut off anywhere, gives the right pages or an error that names the offset', async () => {
    const bytes = write(three)
    const incomplete = (await open(bytes)).remarks.some((text) => text.includes('incomplete'))
    const cuts = new Set([0, 1, bytes.length - 1])
    for (let at = 0; at < bytes.length; at += at < 1024 ? 24 : 1021) cuts.add(at)
    for (const at of cuts) {
      const result = await attempt(bytes.subarray(0, at))
      if (result instanceof InputError) continue
      result.forEach((page, index) => {
        if (page === null) expect(incomplete, `cut at ${at}: page ${index} is absent`).toBe(true)
        else expect(Buffer.compare(page, right[index]!), `cut at ${at}: page ${index}`).toBe(0)
      })
    }
  })

  it('with bytes changed anywhere, gives pages or an error that names the offset, and ends', async () => {
    const bytes = write(three)
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.oneof(fc.nat(600), fc.nat(bytes.length - 1)), fc.nat(255)), { minLength: 1, maxLength: 3 }),
        async (changes) => {
          const changed = Uint8Array.from(bytes)
          for (const [at, value] of changes) changed[at % bytes.length] = value
          await attempt(changed)
        },
      ),
      { numRuns: 50 },
    )
  })
})

describe('dumps', () => {
  const pages: Pages = new Map([
    [BASE, pageOf(2)],
    [BASE + 4096, pageOf(4)],
    [BASE + 0x9000, pageOf(7)],
  ])

  it('as raw images begin where they are told to, whatever they begin with', async () => {
    const { base, bytes } = writeRaw(pages)
    const memory = new PhysicalMemory([], await open(bytes, base))
    for (const [pa, page] of pages) expect(Buffer.compare(memory.read(pa, 4096), page)).toBe(0)
    expect(memory.read(BASE + 0x5000, 16)).toEqual(new Uint8Array(16))
    expect(memory.answers(BASE + 0xa000)).toBe(false)
    const elf = writeElf(pages)
    expect(new PhysicalMemory([], await open(elf, BASE)).read(BASE, 4)).toEqual(elf.subarray(0, 4))
    await expect(open(bytes, 2 ** 52 - 4096)).rejects.toThrow(/reach beyond address 2\^52/)
  })

  it('tell what the kernel says of itself', async () => {
    const vmcoreinfo =
      'OSRELEASE=6.12.48+deb13-amd64\nPAGESIZE=4096\nSYMBOL(swapper_pg_dir)=ffffffff82a10000\nNUMBER(phys_base)=-1048576\nSIZE(page)=64\nOFFSET(page.flags)=0\n'
    for (const bytes of [writeElf(pages, { vmcoreinfo }), writeKdump(pages, { vmcoreinfo })]) {
      const info = (await open(bytes)).vmcoreinfo!
      expect(info).toMatchObject({ text: vmcoreinfo, release: '6.12.48+deb13-amd64', pageSize: 4096 })
      expect([info.symbol('swapper_pg_dir'), info.symbol('none')]).toEqual([0xffffffff82a10000n, null])
      expect([info.number('phys_base'), info.size('page'), info.offset('page.flags')]).toEqual([-0x100000n, 64, 0])
    }
    expect((await open(writeKdump(pages))).vmcoreinfo).toBeNull()
  })

  it('tell the architecture of the machine', async () => {
    expect((await open(writeElf(pages, { machine: 243 }))).machine).toBe(243)
    expect((await open(writeKdump(pages, { machine: 'x86_64' }))).machine).toBe(62)
    expect((await open(writeKdump(pages, { machine: 'Unknown' }))).machine).toBeNull()
    expect((await open(writeLime(pages))).machine).toBeNull()
  })

  it('say that pages of zeros were left out, and only then', async () => {
    const without = await open(writeKdump(pages, { level: 31 }))
    expect(without.leavesOutZeros).toBe(true)
    expect(without.remarks).toEqual([expect.stringMatching(/pages of zeros were left out \(dump level 31\)/)])
    expect(new PhysicalMemory([], without).answers(BASE + 4096)).toBe(false)
    const whole = await open(writeKdump(new Map([[BASE, pageOf(2)]]), { level: 1 }))
    expect(whole).toMatchObject({ leavesOutZeros: false, remarks: [] })
  })

  it('that are incomplete say so, and have their first pages', async () => {
    const bytes = writeKdump(pages, { incomplete: true, packing: 'none' })
    const dump = await open(bytes.subarray(0, bytes.length - 100))
    expect(dump.remarks[0]).toMatch(/incomplete/)
    const memory = new PhysicalMemory([], dump)
    expect(memory.answers(BASE + 4096)).toBe(true)
    expect(memory.answers(BASE + 0x9000)).toBe(false)
  })

  it('that are flattened twice, or are something else when rearranged, say so', async () => {
    const elf = writeElf(pages)
    await expect(open(writeFlattened(writeFlattened(elf)))).rejects.toThrow(
      /^test\.dump \(rearranged\) at offset 0x0: is kdump-compressed, flattened/,
    )
    await expect(open(writeFlattened(new Uint8Array(5000)))).rejects.toThrow(
      /^test\.dump \(rearranged\) at offset 0x0: begins with/,
    )
    expect((await open(writeFlattened(elf))).name).toBe('test.dump')
    expect((await open(writeFlattened(writeKdump(pages)))).name).toBe('test.dump')
  })

  it('that are incomplete have no page whose descriptor was never written', async () => {
    const bytes = writeKdump(pages, { incomplete: true, packing: 'none' })
    // The last of three descriptors, before three pages.
    bytes.fill(0, bytes.length - 3 * 4096 - 24, bytes.length - 3 * 4096)
    const memory = new PhysicalMemory([], await open(bytes))
    expect([BASE, BASE + 4096, BASE + 0x9000].map((pa) => memory.answers(pa))).toEqual([true, true, false])
  })

  it('that were split are refused with the way to join them', async () => {
    await expect(open(writeKdump(pages, { split: true }))).rejects.toThrow(
      /at offset 0x100c: one part of a dump that was split.*--reassemble/,
    )
  })

  it('of processes, of big-endian machines, and of header versions to come are told apart', async () => {
    const elf = writeElf(pages)
    const view = new DataView(elf.buffer)
    for (let index = 0; index < view.getUint16(56, true); index++) {
      view.setBigUint64(64 + index * 56 + 16, BigInt(0x5555_0000 + index * 0x10000), true)
      view.setBigUint64(64 + index * 56 + 24, 0n, true)
    }
    await expect(open(elf)).rejects.toThrow(/core of a process/)
    const kdump = Uint8Array.from(writeKdump(pages))
    kdump.set([0, 0, 0, 6], 8)
    await expect(open(kdump)).rejects.toThrow(/at offset 0x8: the dump of a big-endian machine/)
    kdump.set([7, 0, 0, 0], 8)
    await expect(open(kdump)).rejects.toMatchObject({
      kind: 'unsupported',
      message: expect.stringMatching(/header version 7; 1 to 6/),
    })
  })

  it.each<[string, Uint8Array | string, RegExp]>([
    ['nothing', '', /is empty/],
    ['zeros', new Uint8Array(9000), /begins with 512 zero bytes.*--base 0x40000000/],
    ['text', 'DMAR: DRHD: handling fault status reg 2\n', /is text, no dump of memory/],
    ['xz', '\xfd7zXZ\0rest', /is packed with xz.*xz -d/],
    ['a disk image', 'QFI\xfb\0\0\0\x03', /qcow2 disk image.*not a disk/],
    ['a saved domain', 'LibvirtQemudSave', /virsh dump --memory-only/],
    ['AVML', 'AVML\x02\0\0\0', /AVML image.*avml-convert/],
    ['a program', '\x7fELF\x02\x01\x01'.padEnd(16, '\0').concat('\x02\0\x3e\0').padEnd(64, '\0'), /at offset 0x10: e_type is 2/],
    ['something else', '\x01\x02\x03abc', /begins with 01 02 03 61 62 63 '\.\.\.abc'/],
  ])('%s instead of a dump is named for what it is', async (_, content, message) => {
    const bytes = typeof content === 'string' ? Buffer.from(content, 'latin1') : content
    await expect(open(bytes)).rejects.toThrow(message)
  })

  it('are found by content, packed or not', async () => {
    const elf = writeElf(pages)
    for (const [name, bytes] of [
      ['plain.txt', elf],
      ['packed', gzipSync(elf)],
      ['twice.zip', Buffer.concat([gzipSync(elf.subarray(0, 5000)), gzipSync(elf.subarray(5000))])],
      ['z.gz', packZstd(elf)],
      ['frames', Buffer.concat([packZstd(elf.subarray(0, 5000)), packZstd(elf.subarray(5000))])],
      ['kdump', gzipSync(writeKdump(pages, { packing: 'zstd' }))],
    ] as const) {
      const path = join(folder, name)
      writeFileSync(path, bytes)
      const dump = await openDump(path)
      expectPages(dump, pages)
      dump.close()
    }
  })

  it('name the offset in the packed file where that is damaged', async () => {
    const path = join(folder, 'damaged')
    const packed = gzipSync(writeElf(pages))
    writeFileSync(path, packed.subarray(0, packed.length - 30))
    await expect(openDump(path)).rejects.toThrow(
      /damaged at offset 0x\w+: is damaged at or before this place: gzip says 'unexpected end of file'/,
    )
    const frames = packZstd(writeElf(pages))
    writeFileSync(path, frames.subarray(0, frames.length - 30))
    await expect(openDump(path)).rejects.toThrow(/damaged at offset 0x\w+: is damaged at or before this place: zstd says/)
  })
})
