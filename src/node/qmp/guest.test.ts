import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { INSPECTORS } from '../../inspect/registry.ts'
import { renderPicture } from '../../render/index.ts'
import { openCapture } from '../capture.ts'
import { FakeQemu } from './fake-qemu.suite.ts'
import { LiveGuest, Qmp } from './index.ts'
import { devicesOfQtree, ramOfFlatView, valuesOfXp } from './monitor-text.ts'

const fixture = join(import.meta.dirname, '../../../test/fixtures/arm64-smmuv3-s1')
const closing: { close(): void | Promise<void> }[] = []
afterEach(async () => {
  for (const one of closing.splice(0).reverse()) await one.close()
})

/** The fixture's machine as a guest that runs. */
async function guestOfFixture(shared: boolean) {
  const capture = await openCapture(fixture)
  const { segments } = capture.core
  const ramBase = segments[0]!.pa
  const ram = Buffer.alloc(Math.max(...segments.map(({ pa, bytes }) => pa + bytes)) - ramBase)
  const words = new Int32Array(1024)
  for (const { pa, bytes } of segments)
    for (let frame = pa / 4096; frame < (pa + bytes) / 4096; frame++) {
      capture.core.load(frame, words, 0)
      Buffer.from(words.buffer).copy(ram, frame * 4096 - ramBase)
    }
  const registers = new Map(capture.side.registers.map(({ offset, size, value }) => [offset, { bytes: size as 4 | 8, value }]))
  const pci = [
    {
      bus: 0,
      devices: capture.side.pci
        .map(({ bdf }) =>
          /^0000:(..):(..)\.(.)$/
            .exec(bdf)!
            .slice(1)
            .map((part) => Number(`0x${part}`)),
        )
        .map(([bus, slot, fn]) => ({
          bus,
          slot,
          function: fn,
          id: { vendor: 0x1b36, device: 5 },
          class_info: { class: 255 },
          regions: [],
        })),
    },
  ]
  const qemu = new FakeQemu({ ram, ramBase, iommu: 'arm-smmuv3', mmioBase: 0x905_0000, registers, shared, pci })
  await qemu.listen()
  closing.push(qemu)
  return { qemu, capture }
}

/** A guest of one page. */
async function smallGuest(iommu: string | null = 'arm-smmuv3') {
  const qemu = new FakeQemu({
    ram: Buffer.alloc(4096),
    ramBase: 0x4000_0000,
    iommu,
    mmioBase: 0x905_0000,
    registers: new Map(),
    shared: false,
  })
  await qemu.listen()
  closing.push(qemu)
  return qemu
}

async function open(qemu: FakeQemu, options = {}) {
  const guest = await LiveGuest.open(await Qmp.connect(qemu.path), options)
  closing.push(guest)
  return guest
}

describe('a running guest', () => {
  it.each([true, false])('looks like the capture of it (memory in a file: %s)', async (shared) => {
    const { qemu, capture } = await guestOfFixture(shared)
    const guest = await open(qemu)
    expect(guest.kind).toBe('smmuv3')
    expect(guest.memoryFrom).toMatch(shared ? /memory file .*ram$/ : /monitor/)
    const inspect = INSPECTORS.get('smmuv3')!
    const live = await guest.settle((view) => inspect({ title: 'x', names: guest.names, ...view }))
    const names = { devices: new Map([...guest.names.devices!]) }
    const still = inspect({ title: 'x', names, memory: capture.memory, register: capture.register })
    expect(renderPicture(live)).toBe(renderPicture(still))
    expect(live.devices.filter(({ state }) => state === 'tables').length).toBeGreaterThan(5)
    // The words for a device's class are no driver's name.
    expect(guest.names.devices!.get(0x30)!.pci).toEqual({ vendor: 0x1b36, device: 5 })
    expect(guest.cutOff).toBe(false)
    expect(qemu.commands).not.toContain('stop')
    expect(qemu.commands.some((line) => line.startsWith('xp /512gx'))).toBe(!shared)
  })

  it('is stopped only when asked, and goes on after', async () => {
    const qemu = await smallGuest()
    const guest = await open(qemu, { stop: true })
    let ran: boolean | null = null
    await guest.settle(() => {
      ran = qemu.running
    })
    expect(ran).toBe(false)
    expect(qemu.running).toBe(true)
    expect(qemu.commands.filter((line) => line === 'stop' || line === 'cont')).toEqual(['stop', 'cont'])
  })

  it('that was stopped before stays so', async () => {
    const qemu = await smallGuest()
    qemu.running = false
    await (await open(qemu, { stop: true })).settle(() => {})
    expect(qemu.running).toBe(false)
  })

  it('without an IOMMU is refused with what is known', async () => {
    const qemu = new FakeQemu({
      ram: Buffer.alloc(4096),
      ramBase: 0,
      iommu: null,
      mmioBase: 0,
      registers: new Map(),
      shared: false,
    })
    await qemu.listen()
    closing.push(qemu)
    const qmp = await Qmp.connect(qemu.path)
    closing.push(qmp)
    await expect(LiveGuest.open(qmp)).rejects.toThrow(/it has no IOMMU\. Known are QEMU's intel-iommu, /)
  })
})

describe('a QMP socket', () => {
  it('that nothing listens on is refused with what to start', async () => {
    await expect(Qmp.connect('/nonexistent/qmp')).rejects.toThrow(/^\/nonexistent\/qmp: .*ENOENT.*-qmp unix:\/nonexistent\/qmp/)
  })

  it.each(['hello', '{"QMP": 5}', 'x'.repeat(100)])('that greets otherwise is refused: %s', async (greeting) => {
    const qemu = await smallGuest()
    qemu.greeting = greeting
    await expect(Qmp.connect(qemu.path)).rejects.toThrow(/does not speak QMP/)
  })

  it('that says nothing is given up', async () => {
    const qemu = await smallGuest()
    qemu.greeting = ''
    await expect(Qmp.connect(qemu.path, { timeout: 50 })).rejects.toThrow(/does not speak QMP|no answer within/)
  })
})

describe('what the monitor prints', () => {
  it('gives the RAM of the guest’s memory alone, with its place in the region', () => {
    const text = [
      'FlatView #0',
      ' AS "vtd-root", root: vtd-02.0',
      ' Root memory region: vtd-02.0-dmar',
      '  0000000000000000-00000000fedfffff (prio 0, i/o): vtd-02.0-dmar',
      '',
      'FlatView #4',
      ' AS "cpu-memory-0", root: system',
      ' AS "memory", root: system',
      ' Root memory region: system',
      '  0000000000000000-000000000009ffff (prio 0, ram): pc.ram KVM',
      '  00000000000c3000-00000000000e7fff (prio 0, rom): pc.ram @00000000000c3000 KVM',
      '  00000000fed90000-00000000fed9022f (prio 0, i/o): intel_iommu',
      '  0000000100000000-000000013fffffff (prio 0, ram): pc.ram @0000000080000000',
      '',
    ]
    expect(ramOfFlatView(text.join('\r\n'))).toEqual([
      { start: 0, end: 0xa0000, region: 'pc.ram', offset: 0 },
      { start: 0xc3000, end: 0xe8000, region: 'pc.ram', offset: 0xc3000 },
      { start: 0x1_0000_0000, end: 0x1_4000_0000, region: 'pc.ram', offset: 0x8000_0000 },
    ])
  })

  it('gives devices with their registers and PCI addresses', () => {
    const text =
      '  dev: intel-iommu, id ""\r\n    aw-bits = 39 (0x27)\r\n    mmio 00000000fed90000/0000000000000230\r\n  dev: nvme, id "x"\r\n        class Class 0108, addr 00:02.0, pci id 1b36:0010 (sub 1af4:1100)\r\n    mmio ffffffffffffffff/0000000000001000\r\n'
    expect(devicesOfQtree(text)).toMatchObject([
      { type: 'intel-iommu', mmio: [{ base: 0xfed9_0000, bytes: 0x230 }], address: null },
      { type: 'nvme', mmio: [], address: '00:02.0' },
    ])
    expect(devicesOfQtree(text)[0]!.properties.get('aw-bits')).toBe('39 (0x27)')
  })

  it('gives words, or nothing where it could not read', () => {
    expect(valuesOfXp('0000000000001000: 0x0000000000000001 0x00000000000000ff\r\n0000000000001010: 0x2\r\n')).toEqual([
      1n,
      255n,
      2n,
    ])
    expect(valuesOfXp('Cannot access memory\r\n')).toBeNull()
    expect(valuesOfXp('')).toBeNull()
  })
})
