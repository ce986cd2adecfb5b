import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decode, encode, type Layout, setBits, wordsFromU64, wordsToU64 } from '../../base/layout.ts'
import { testLayouts } from '../layouts.suite.ts'
import { COMMANDS, COMPLETE_PPR_REQUEST, INVALIDATE_IOTLB_PAGES, iotlbPasid, opcodeOf, setIotlbPasid } from './commands.ts'
import { DTE, gcr3Root, hostRoot, interruptEntries, interruptRoot, setGcr3Root } from './dte.ts'
import {
  EVENT_IO_PAGE_FAULT,
  EVENT1_GN,
  EVENT1_NX,
  EVENT1_PE,
  EVENT1_PR,
  EVENT1_RW,
  EVENT1_RZ,
  EVENT1_TR,
  EVENT1_US,
  EVENTS,
  eventOf,
  eventPasid,
  setEventPasid,
} from './events.ts'
import { GCR3_ENTRY, GCR3_POINTER, gcr3Address, gcr3Bits } from './gcr3.ts'
import { IRTE32, IRTE128, IRTE128_GUEST, irteDestination } from './irte.ts'
import { PPR_ENTRY, PPR1_EXEC, PPR1_GN, PPR1_READ, PPR1_WRITE, pprPasid, setPprPasid } from './ppr.ts'
import { REGISTER_BYTES, REGISTERS, ringLog2 } from './registers.ts'

const LAYOUTS: Layout[] = [
  DTE,
  GCR3_ENTRY,
  GCR3_POINTER,
  IRTE32,
  IRTE128,
  IRTE128_GUEST,
  PPR_ENTRY,
  ...[...COMMANDS.values()].map(({ layout }) => layout),
  ...[...EVENTS.values()].map(({ layout }) => layout),
  ...new Set(REGISTERS.map(({ layout }) => layout)),
]

const page = fc.integer({ min: 0, max: 2 ** 40 - 1 }).map((number) => number * 4096)

describe('layouts', () => {
  testLayouts(LAYOUTS)

  it('DTE: the words that Linux writes mean what it meant', () => {
    // A host table of 3 levels; a GCR3 table of 2 levels with GIOV and interrupt remapping.
    const host = decode(DTE, wordsFromU64([0x600000010139d603n, 2n, 1n, 0n]))
    expect(host).toMatchObject({ V: 1, TV: 1, Mode: 3, HostPageTableRootPtr: 0x10139d000n, IR: 1, IW: 1, DomainID: 2, IV: 1 })
    expect(host).toMatchObject({ GV: 0, IntTabLen: 0, IntCtl: 0 })
    const words = wordsFromU64([0x65d0000000000003n, 0x000010010279000dn, 0x2000000101d84013n, 0n])
    const guest = decode(DTE, words)
    expect(guest).toMatchObject({ Mode: 0, PPR: 1, GPRP: 0, GIOV: 1, GV: 1, GLX: 1, DomainID: 13, I: 1 })
    expect(guest).toMatchObject({ IntTabLen: 9, IntCtl: 2, GuestPagingMode: 0 })
    expect([hostRoot(words), gcr3Root(words)]).toEqual([0, 4315713536])
    expect([interruptRoot(words), interruptEntries(words)]).toEqual([0x101d84000, 512])
  })

  it('DTE: the GCR3 pointer is spread over three fields and gathered again; no other bit changes', () => {
    fc.assert(
      fc.property(page, fc.array(fc.integer({ min: 0, max: 0xffffffff }), { minLength: 8, maxLength: 8 }), (address, given) => {
        const words = Uint32Array.from(given)
        setGcr3Root(words, address)
        expect(gcr3Root(words)).toBe(address)
        setGcr3Root(words, 0)
        const zeroed = Uint32Array.from(given)
        for (const [msb, lsb] of [
          [60, 58],
          [95, 80],
          [127, 107],
        ] as const)
          setBits(zeroed, msb, lsb, 0)
        expect(words).toEqual(zeroed)
      }),
    )
    expect(() => setGcr3Root(new Uint32Array(8), 0x800)).toThrow('not the address of a 4 KiB page')
    expect(() => setGcr3Root(new Uint32Array(8), 2 ** 52)).toThrow('below 2^52')
  })

  it('PASIDs that are in pieces come back whole', () => {
    const pasid = fc.integer({ min: 0, max: 0xfffff })
    fc.assert(
      fc.property(pasid, (given) => {
        const words = new Uint32Array(4)
        setIotlbPasid(words, given)
        expect(iotlbPasid(words)).toBe(given)
        words.fill(0)
        setEventPasid(words, given)
        expect(eventPasid(words)).toBe(given)
        words.fill(0)
        setPprPasid(words, given)
        expect(pprPasid(words)).toBe(given)
      }),
    )
    const words = encode(INVALIDATE_IOTLB_PAGES, { 'PASID[19:16]': 1, 'PASID[15:8]': 2, 'PASID[7:0]': 3 })
    expect(iotlbPasid(words)).toBe(0x10203)
  })

  it('GCR3 tables of one, two and three levels take 9, 18 and 20 bits', () => {
    expect([0, 1, 2].map(gcr3Bits)).toEqual([9, 18, 20])
    const words = encode(GCR3_ENTRY, { V: 1, GCR3: 0xf_ffff_ffff_f000n })
    expect(gcr3Address(words[1]!, words[0]!)).toBe(0xf_ffff_ffff_f000)
  })

  it('events: the words of a real log', () => {
    // A write to an address without a mapping, as QEMU logs it (see docs/differences.md about what it leaves out).
    const words = Uint32Array.of(0x30, 0x200a0000, 0, 0)
    expect(eventOf(words)?.name).toBe('IO_PAGE_FAULT')
    expect(decode(EVENT_IO_PAGE_FAULT, words)).toMatchObject({ DeviceID: 0x30, NX: 1, I: 1, PR: 0, Address: 0n })
    expect(eventOf(Uint32Array.of(0, 0xf0000000, 0, 0))).toBeNull()
  })

  it('masks are those of the layouts', () => {
    const bit = (form: Layout, name: string) => 1 << (form.fields[name]!.lsb - 32)
    const event = (name: string) => bit(EVENT_IO_PAGE_FAULT, name)
    expect([EVENT1_GN, EVENT1_NX, EVENT1_US, EVENT1_PR]).toEqual(['GN', 'NX', 'US', 'PR'].map(event))
    expect([EVENT1_RW, EVENT1_PE, EVENT1_RZ, EVENT1_TR]).toEqual(['RW', 'PE', 'RZ', 'TR'].map(event))
    const ppr = (name: string) => bit(PPR_ENTRY, name)
    expect([PPR1_EXEC, PPR1_READ, PPR1_WRITE, PPR1_GN]).toEqual(['EX', 'RD', 'WR', 'GN'].map(ppr))
  })

  it('commands: opcodes are in bits 63:60, and responses in bits 111:108', () => {
    for (const [opcode, { layout }] of COMMANDS) expect(opcodeOf(encode(layout, { OpCode: opcode } as never))).toBe(opcode)
    const words = wordsToU64(
      encode(COMPLETE_PPR_REQUEST, { OpCode: 7, DeviceID: 0x30, PASID: 5, GN: 1, CompletionTag: 3, Response: 1 }),
    )
    expect(words).toEqual([0x7000000500000030n, 0x0000100300000004n])
  })

  it('interrupt remapping entries: 32-bit destinations are in two pieces', () => {
    const words = encode(IRTE128, { RemapEn: 1, 'Destination[23:0]': 0x345678, 'Destination[31:24]': 0x92, Vector: 0x41 })
    expect(irteDestination(words)).toBe(0x92345678)
    expect(wordsToU64(encode(IRTE32, { RemapEn: 1, DM: 1, Destination: 3, Vector: 0x30 }))).toEqual([0x300341n])
  })

  it('registers: none overlaps another, all are aligned; lengths of rings', () => {
    const offsets = REGISTERS.map(({ offset }) => offset)
    expect(new Set(offsets).size).toBe(offsets.length)
    expect(offsets.every((offset) => offset % 8 === 0 && offset < REGISTER_BYTES)).toBe(true)
    expect(ringLog2(0x09000001)).toBe(13)
  })
})
