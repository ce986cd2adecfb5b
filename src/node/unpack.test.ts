import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, describe, expect, it } from 'vitest'
import { openCapture } from './capture.ts'
import { openDump } from './dump/open.ts'
import { packZstd, writeElf } from './dump/writers.suite.ts'
import { openBytes, readUnpacked } from './unpack.ts'

const folder = mkdtempSync(join(tmpdir(), 'iomm-unpack-'))
afterAll(() => rmSync(folder, { recursive: true }))

function file(name: string, ...parts: Uint8Array[]): string {
  const path = join(folder, name)
  writeFileSync(path, Buffer.concat(parts))
  return path
}

const MIB = 1 << 20
/** A GiB of zeros, in members of 16 MiB: about a MiB. */
const zeros = Array.from({ length: 64 }).fill(gzipSync(new Uint8Array(16 * MIB))) as Uint8Array[]
/** As zstd: repeated bytes in blocks of 128 KiB, frames of 16 MiB. */
const zstdZeros = Array.from({ length: 64 }).fill(packZstd(new Uint8Array(16 * MIB))) as Uint8Array[]

/** How much the greatest memory that this process ever had grew meanwhile. */
async function growth(body: () => Promise<unknown>): Promise<number> {
  const before = process.resourceUsage().maxRSS
  await body()
  return (process.resourceUsage().maxRSS - before) * 1024
}
/** A pipe's buffers, the decompressor, and what the garbage collector has not taken back yet. */
const LITTLE = 160 * MIB

describe('files that unpack to a GiB', () => {
  it.each([
    ['gzip', zeros],
    ['zstd', zstdZeros],
  ])('are refused as dumps by what they begin with, and take no memory (%s)', async (name, parts) => {
    const path = file(`bomb.${name}`, ...parts)
    expect(await growth(() => expect(openDump(path)).rejects.toThrow(/begins with 512 zero bytes/))).toBeLessThan(LITTLE)
  })

  it.each([
    ['gzip', zeros],
    ['zstd', zstdZeros],
  ])('are refused as facts by their size, and take no more memory than that (%s)', async (name, parts) => {
    const path = file(`facts.${name}`, ...parts)
    expect(await growth(() => expect(readUnpacked(path, 64 * MIB)).rejects.toThrow(/unpacks to more than 64 MiB/))).toBeLessThan(
      LITTLE,
    )
  })

  it('are unpacked no further than the dump in them goes', async () => {
    const page = new Uint8Array(4096).fill(7)
    const path = file('tail.gz', gzipSync(writeElf(new Map([[0x1000, page]]))), ...zeros)
    const used = await growth(async () => {
      const dump = await openDump(path, { limit: 64 * MIB })
      const words = new Int32Array(1024)
      expect(dump.load(1, words, 0)).toBe(true)
      expect(new Uint8Array(words.buffer)).toEqual(page)
    })
    expect(used).toBeLessThan(LITTLE)
  })

  it('are refused in captures too', async () => {
    const path = join(folder, 'capture')
    spawnSync('mkdir', ['-p', path])
    writeFileSync(join(path, 'side.json'), '{"iommu":"smmuv3","registers":[]}')
    writeFileSync(join(path, 'tables.elf.gz'), Buffer.concat(zeros))
    expect(
      await growth(() => expect(openCapture(path)).rejects.toThrow(/tables\.elf\.gz at offset 0x0: this is not an ELF file/)),
    ).toBeLessThan(LITTLE)
    writeFileSync(join(path, 'side.json.gz'), Buffer.concat(zeros))
    expect(
      await growth(() => expect(openCapture(path)).rejects.toThrow(/side\.json\.gz: unpacks to more than 64 MiB/)),
    ).toBeLessThan(LITTLE)
  })
})

describe('unpacking', () => {
  it('keeps what is large in a file that has no name any more, with holes for zeros', async () => {
    const left = () =>
      readdirSync(tmpdir()).filter((name) => name.startsWith('iomm-') && existsSync(join(tmpdir(), name, 'unpacked')))
    const before = left().length
    const last = Uint8Array.from({ length: 5000 }, (_, index) => index & 255)
    const source = await openBytes(file('large.gz', ...zeros.slice(0, 8), gzipSync(last)))
    expect(source.size).toBe(128 * MIB + 5000)
    const got = new Uint8Array(5100)
    source.read(128 * MIB - 100, got)
    expect(got.subarray(0, 100)).toEqual(new Uint8Array(100))
    expect(got.subarray(100)).toEqual(last)
    expect(left().length).toBe(before)
    source.close()
  })

  it('stops at the limit that it is given', async () => {
    await expect(openBytes(file('limit.gz', ...zeros.slice(0, 4)), { limit: 40 * MIB })).rejects.toThrow(
      /unpacks to more than 40 MiB/,
    )
    const plain = file('plain', new Uint8Array(2 * MIB))
    await expect(readUnpacked(plain, MIB)).rejects.toThrow(/unpacks to more than 1 MiB/)
    const announced = writeElf(new Map([[0x1000, new Uint8Array(4096)]]), { phoff: 64 })
    new DataView(announced.buffer).setBigUint64(96, 1n << 40n, true)
    await expect(openDump(file('announced.gz', gzipSync(announced), ...zeros))).rejects.toThrow(/unpacks to more than 64 GiB/)
  })

  it('reads pipes', async () => {
    const elf = writeElf(new Map([[0x1000, new Uint8Array(4096).fill(9)]]))
    for (const [name, bytes] of [
      ['plain', elf],
      ['packed', gzipSync(elf)],
    ] as const) {
      const pipe = join(folder, `pipe-${name}`)
      if (spawnSync('mkfifo', [pipe]).status !== 0) return console.warn('skipped: there is no mkfifo here')
      spawn('sh', ['-c', `cat "${file(`content-${name}`, bytes)}" > "${pipe}"`])
      const dump = await openDump(pipe)
      expect([...dump.ranges()]).toEqual([{ start: 0x1000, end: 0x2000 }])
      dump.close()
    }
  })

  it('says why something cannot be read', async () => {
    await expect(openBytes(folder)).rejects.toThrow(/is a folder/)
    await expect(openBytes('/dev/zero')).rejects.toThrow(/is a device/)
    await expect(openBytes(join(folder, 'nowhere'))).rejects.toThrow(/no such file/)
  })
})
