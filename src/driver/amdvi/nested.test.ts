import { describe, expect, it } from 'vitest'
import { encode, type Values } from '../../base/layout.ts'
import { checkDte } from '../../format/amdvi/check.ts'
import { COMPLETION_WAIT, OP_COMPLETION_WAIT } from '../../format/amdvi/commands.ts'
import { DTE, setGcr3Root } from '../../format/amdvi/dte.ts'
import { REG } from '../../format/amdvi/registers.ts'
import { loadWords } from '../common/words.ts'
import { completePpr, invalidateAll, invalidateAtc, invalidateDevice, invalidatePages } from './commands.ts'
import { PLAIN, System } from './system.suite.ts'

/** 16 MiB of guest memory at 0x8000_0000 of its own addresses, behind 0x6000_0000. */
const GUEST = 0x8000_0000
const HOST = 0x6000_0000
const FAULT = 'IO_PAGE_FAULT'
/** The guest's DomainID. */
const ID = 77

/** The guest's DTE: its GCR3 table lies at +0x1000. */
function dte(changes: Partial<Values<typeof DTE.fields>> = {}, gcr3 = GUEST + 0x1000): Uint32Array {
  const words = encode(DTE, { V: 1, TV: 1, IR: 1, IW: 1, GV: 1, GIOV: 1, DomainID: ID, ...changes })
  setGcr3Root(words, gcr3)
  return words
}

function guest(hardware = {}) {
  const system = new System({}, hardware)
  const [device, second] = [system.device(1, { ats: false, pri: false }), system.device(2, { ats: false, pri: false })]
  const domain = system.domain('VM', 'nested', device, second)
  system.run(system.driver.pgtable(domain)!.map(BigInt(GUEST), BigInt(HOST), 0x100_0000n, 63))
  const write = (offset: number, ...words: number[]) =>
    words.forEach((word, index) => {
      system.memory.write32(HOST + offset + index * 4, word)
    })
  // GCR3 entry 0 leads to a 4-level table at +0x3000 that maps 1 GiB: 0x4000_0000 → 0x8000_0000.
  write(0x1000, GUEST + 0x3000 + 1, 0)
  write(0x3000, GUEST + 0x4000 + 7, 0)
  write(0x4008, GUEST + 0x87, 0)
  const enter = (words: Uint32Array | null, which = device) => system.run(system.driver.setGuestEntry(which, words))
  const say = (...commands: Uint32Array[]) => system.run(system.driver.guestInvalidate(domain, commands))
  return { system, device, second, domain, write, enter, say }
}

describe('a guest', () => {
  it('sees its own addresses until it switches its guest tables on; then both translate', () => {
    const { device, enter } = guest()
    expect(device.dma(0x8000_5000n)).toBe(0x6000_5000n)
    enter(dte())
    expect([device.dma(0x4000_5000n), device.dma(0x8000_5000n)]).toEqual([0x6000_5000n, FAULT])
    // The guest's tables map it, our host tables do not.
    expect(device.dma(0x4100_0000n)).toBe(FAULT)
    // V = 0 is, to a guest, that addresses pass: its own.
    enter(new Uint32Array(8))
    expect(device.dma(0x8000_5000n)).toBe(0x6000_5000n)
    enter(dte({ TV: 0 }))
    expect(device.dma(0x8000_5000n)).toBe(FAULT)
    enter(dte({ GV: 0, IW: 0 }))
    expect([device.dma(0x8000_5000n), device.dma(0x8000_5000n, null, 'write')]).toEqual([0x6000_5000n, FAULT])
    enter(null)
    expect(device.dma(0x8000_5000n, null, 'write')).toBe(0x6000_5000n)
  })
  it('has PASIDs in its own GCR3 table, which the IOMMU reads through our host tables', () => {
    const { device, write, enter } = guest()
    enter(dte())
    expect(device.dma(0x4000_5000n, 3)).toBe(FAULT)
    write(0x1018, GUEST + 0x3000 + 1, 0)
    expect(device.dma(0x4000_5000n, 3)).toBe(0x6000_5000n)
    // Outside its memory there is nothing for it to read.
    enter(dte({}, 0x1000))
    expect(device.dma(0x4000_5000n)).toBe(FAULT)
  })
  it('keeps what it has when its entry asks for what is not its own', () => {
    const { device, enter } = guest()
    enter(dte())
    for (const own of [{ Mode: 1 }, { HAD: 3 }, { EX: 1 }, { IV: 1 }, { SysMgt: 3 }, { HostPageTableRootPtr: 0x1000n }] as const)
      expect(() => enter(dte(own))).toThrow(/may set only/)
    expect(() => enter(dte({ GLX: 3 }))).toThrow(/GLXSup/)
    expect(() => enter(dte({ GuestPagingMode: 2 }))).toThrow(/GATS/)
    expect(device.dma(0x4000_5000n)).toBe(0x6000_5000n)
  })
  it('changes the levels of its tables, and at no instant does anything pass that should not', () => {
    const { system, device, write, enter } = guest()
    enter(dte())
    // A table of 5 levels at +0x6000.
    write(0x6000, GUEST + 0x3000 + 7, 0)
    write(0x2000, GUEST + 0x6000 + 1, 0)
    const base = Number(system.model.read(REG.DEV_TAB_BASE, 8) & 0xffffffffff000n)
    system.watch(system.driver.setGuestEntry(device, dte({ GuestPagingMode: 1 }, GUEST + 0x2000)), () => {
      const words = Int32Array.from(loadWords(system.memory, base + 32, 8))
      expect([words[0]! & 3, checkDte(words, 0, system.driver.features)]).toEqual([3, 0])
      expect([0x6000_5000n, FAULT]).toContain(device.dma(0x4000_5000n))
    })
    expect(device.dma(0x4000_5000n, 1)).toBe(FAULT)
    // PASID 1 is where nothing was cached before.
    write(0x2008, GUEST + 0x6000 + 1, 0)
    expect([device.dma(0x4000_5000n), device.dma(0x4000_5000n, 1)]).toEqual([0x6000_5000n, 0x6000_5000n])
  })
  it('gives its devices DomainIDs, and what they cache is kept apart by them', () => {
    const { device, second, write, enter } = guest()
    // The second device has a GCR3 table at +0x7000, which leads to a table at +0x8000: 0x4000_0000 → 0x8080_0000.
    write(0x7000, GUEST + 0x8000 + 1, 0)
    write(0x8000, GUEST + 0x9000 + 7, 0)
    write(0x9008, GUEST + 0xa007, 0)
    write(0xa000, GUEST + 0x80_0087, 0)
    enter(dte())
    enter(dte({ DomainID: ID + 1 }, GUEST + 0x7000), second)
    expect([device.dma(0x4000_5000n), second.dma(0x4000_5000n)]).toEqual([0x6000_5000n, 0x6080_5000n])
  })
  it('invalidates its own translations, and nobody else’s', () => {
    const { system, device, write, enter, say } = guest()
    const other = system.device(9, PLAIN)
    enter(dte())
    expect(device.dma(0x4000_5000n)).toBe(0x6000_5000n)
    write(0x4008, 0, 0)
    expect(device.dma(0x4000_5000n)).toBe(0x6000_5000n)
    // Another domain of its own, which no device is in.
    say(invalidatePages(ID + 1, 0, null, true))
    expect(device.dma(0x4000_5000n)).toBe(0x6000_5000n)
    say(invalidatePages(ID, 0, null, true))
    expect(device.dma(0x4000_5000n)).toBe(FAULT)
    say(invalidateDevice(1), invalidateAtc(1, 4, null))
    for (const [command, why] of [
      [invalidateDevice(other.id), /DeviceID 0x9 is not one of the guest's/],
      [invalidateAtc(9, null, null), /DeviceID 0x9/],
      [invalidateAll(), /INVALIDATE_IOMMU_ALL/],
      [completePpr(1, 0, 0, 'success'), /COMPLETE_PPR_REQUEST/],
      [encode(COMPLETION_WAIT, { OpCode: OP_COMPLETION_WAIT, S: 1, StoreAddress: 0x1000n }), /COMPLETION_WAIT/],
      [Uint32Array.of(0, 0xf000_0000, 0, 0), /opcode 15 is reserved/],
    ] as const)
      expect(() => say(command)).toThrow(why)
  })
  it('loses what its host takes away, whatever was cached of both together', () => {
    const { system, device, domain, enter } = guest()
    enter(dte())
    expect(device.dma(0x4000_5000n)).toBe(0x6000_5000n)
    system.unmap(domain, 0x8000_5000n)
    expect([device.dma(0x4000_5000n), device.dma(0x4000_6000n)]).toEqual([FAULT, 0x6000_6000n])
    // Its GCR3 table too.
    system.unmap(domain, 0x8000_1000n)
    expect(device.dma(0x4000_6000n)).toBe(FAULT)
  })
  it('has a limited number of DomainIDs, which go with its domain', () => {
    const { system, device, second, domain, enter } = guest()
    for (let id = 1; id <= 64; id++) enter(dte({ DomainID: id }))
    expect(() => enter(dte({ DomainID: 65 }))).toThrow(/more than 64 DomainIDs/)
    for (const each of [device, second]) system.run(system.driver.detachDevice(domain, each))
    domain.devices.clear()
    system.run(system.driver.domainFree(domain))
    for (let turn = 0; turn < 3; turn++) system.domain(`D${turn}`, 'dma')
  })
  it('needs an IOMMU that reads GCR3 tables at guest physical addresses', () => {
    const system = new System({}, { efr2: 0n })
    expect(() => system.domain('VM', 'nested')).toThrow(/GCR3TRPMode/)
  })
  it('exists in nested domains only', () => {
    const system = new System()
    const device = system.device(1)
    system.domain('A', 'dma', device)
    expect(() => system.run(system.driver.setGuestEntry(device, dte()))).toThrow(/not in a nested domain/)
  })
})
