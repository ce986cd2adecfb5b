import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { PhysicalMemory } from '../../memory/physical.ts'
import { openDump } from './open.ts'

const folder = join(import.meta.dirname, '../../../../shared/captures/dump-samples')
const samples = existsSync(folder) ? readdirSync(folder).filter((name) => !name.includes('.ram.')) : []
if (samples.length === 0) console.warn('skipped: ../shared/captures/dump-samples is not here')

/** The CPU of the Arm guest is a 32-bit one; that of the PC never left its 16-bit mode. The PC has empty ROM over its RAM at 0xc0000 and 0xf0000. */
const MACHINES: Record<string, { base: number; machine: number; rom?: [number, number][] }> = {
  aarch64: { base: 0x4000_0000, machine: 40 },
  riscv64: { base: 0x8000_0000, machine: 243 },
  x86_64: {
    base: 0,
    machine: 3,
    rom: [
      [0xc0000, 0xe0000],
      [0xf0000, 0x100000],
    ],
  },
}
const isRom = (at: number, rom: [number, number][] = []) => rom.some(([start, end]) => at >= start && at < end)
const EMPTY = new Uint8Array(4096)

if (samples.length === 0) console.warn('skipped: ../shared/captures/dump-samples is missing')
describe.skipIf(samples.length === 0)('dumps that QEMU wrote', () => {
  it('are there in three forms for three architectures', () => expect(samples.length).toBe(9))

  it.each(samples)('%s has the RAM that the machine had, page by page', async (name) => {
    const architecture = name.split('-')[0]!
    const { base, machine, rom } = MACHINES[architecture]!
    const ram = gunzipSync(readFileSync(join(folder, `${architecture}-8M.ram.gz`)))
    expect(ram.length).toBe(8 << 20)
    const dump = await openDump(join(folder, name))
    const memory = new PhysicalMemory([], dump)
    for (let at = 0; at < ram.length; at += 4096) {
      // QEMU dumps what the CPU sees: the ROM is empty here, for no firmware was loaded.
      const expected = isRom(at, rom) ? EMPTY : ram.subarray(at, at + 4096)
      expect(Buffer.compare(memory.read(base + at, 4096), expected), `page ${(base + at).toString(16)}`).toBe(0)
    }
    expect(dump.machine).toBe(machine)
    expect(dump.remarks).toEqual([])
    expect(dump.notes.map((note) => note.name)).toContain('CORE')
    const ranges = [...dump.ranges()]
    for (let pa = base; pa < base + ram.length; pa += 4096)
      expect(ranges.some(({ start, end }) => start <= pa && end >= pa + 4096)).toBe(true)
    expect(memory.answers(base + 2 ** 40)).toBe(false)
    dump.close()
  })
})
