import { describe, expect, it } from 'vitest'
import { encode, wordsToU64 } from '../../base/layout.ts'
import { IRTE32, IRTE128, IRTE128_GUEST } from '../../format/amdvi/irte.ts'
import { DEVICE, efr, Rig } from './rig.suite.ts'

const ADDRESS = 0xfee0_0000n
type Fields = Parameters<Rig['dte']>[0]

/** A device whose interrupts are remapped by a table of 32 entries. */
function remapping(rig: Rig, fields: Fields = {}): number {
  const table = rig.page()
  rig.dte({ IV: 1, IntCtl: 2, IntTabLen: 5, InterruptTableRootPtr: BigInt(table), ...fields })
  return table
}
const send = (rig: Rig, data: number, address = ADDRESS) => rig.iommu.interrupt({ device: DEVICE, address, data })

function short(rig: Rig, table: number, index: number, values: object): void {
  rig.memory.write(table + index * 4, new Uint8Array(encode(IRTE32, { RemapEn: 1, ...values } as never).buffer))
}
function long(rig: Rig, table: number, index: number, values: object, layout: object = IRTE128): void {
  wordsToU64(encode(layout as typeof IRTE128, { RemapEn: 1, ...values } as never)).forEach((word, half) => {
    rig.memory.write64(table + index * 16 + half * 8, word)
  })
}

describe('AMD-Vi interrupt remapping', () => {
  it('lets messages pass while the IOMMU is off, where IV is 0, and with IntCtl 1', () => {
    const message = { vector: 0x41, destination: 0x12, logical: true, deliveryMode: 1, level: true, posted: null }
    for (const [control, fields] of [
      [{ IommuEn: 0 }, {}],
      [{}, {}],
      [{}, { IV: 1, IntCtl: 1 }],
    ] as const) {
      const rig = new Rig({}, control)
      rig.dte(fields)
      expect(send(rig, 0x8141, 0xfee1_2004n)).toEqual({ ok: true, remapped: false, ...message })
    }
  })

  it('remaps by entries of 32 bits', () => {
    const rig = new Rig()
    const table = remapping(rig)
    short(rig, table, 31, { IntType: 1, DM: 1, Destination: 0x34, Vector: 0x56 })
    expect(send(rig, 31)).toEqual({
      ...{ ok: true, remapped: true, vector: 0x56, destination: 0x34, logical: true, deliveryMode: 1 },
      ...{ level: false, posted: null },
    })
  })

  it('remaps by entries of 128 bits, with wide destinations in x2APIC mode', () => {
    const rig = new Rig({}, { GAEn: 1 })
    const table = remapping(rig)
    long(rig, table, 3, { 'Destination[23:0]': 0x345678, 'Destination[31:24]': 0x12, Vector: 0x90 })
    expect(send(rig, 3)).toMatchObject({ vector: 0x90, destination: 0x78 })
    rig.control({ GAEn: 1, XTEn: 1 })
    expect(send(rig, 3)).toMatchObject({ vector: 0x90, destination: 0x1234_5678, logical: false, deliveryMode: 0 })
  })

  it('posts to the virtual APIC in guest mode', () => {
    const rig = new Rig({ efr: efr({ GAMSup: 1 }) }, { GAEn: 1, GAMEn: 1 })
    const table = remapping(rig)
    const backing = rig.page()
    long(rig, table, 1, { GuestMode: 1, Vector: 0x41, GuestAPICTableRootPtr: BigInt(backing) }, IRTE128_GUEST)
    expect(send(rig, 1)).toMatchObject({ ok: true, remapped: true, vector: 0x41, posted: BigInt(backing) })
    expect(rig.memory.read32(backing + 0x220)).toBe(2)
  })

  it('keeps entries until the table is invalidated, unless the cache is off', () => {
    const rig = new Rig()
    const table = remapping(rig)
    short(rig, table, 0, { Vector: 1 })
    send(rig, 0)
    short(rig, table, 0, { Vector: 2 })
    expect(send(rig, 0)).toMatchObject({ vector: 1 })
    rig.command('INVALIDATE_INTERRUPT_TABLE', { DeviceID: DEVICE + 1 })
    expect(send(rig, 0)).toMatchObject({ vector: 1 })
    rig.command('INVALIDATE_INTERRUPT_TABLE', { DeviceID: DEVICE })
    expect(send(rig, 0)).toMatchObject({ vector: 2 })
    rig.control({ IRTCacheDis: 1 })
    rig.command('INVALIDATE_INTERRUPT_TABLE', { DeviceID: DEVICE })
    send(rig, 0)
    short(rig, table, 0, { Vector: 3 })
    expect(send(rig, 0)).toMatchObject({ vector: 3 })
  })

  it.each([
    ['an interrupt outside the table', 32, {}, {}],
    ['RemapEn 0', 0, { RemapEn: 0 }, {}],
    ['guest mode without a virtual APIC', 0, { GuestMode: 1 }, { PR: 1, RZ: 1 }],
    ['a reserved delivery mode of the entry', 0, { IntType: 2 }, { PR: 1, RZ: 1 }],
    ['a reserved delivery mode of the message', 0x300, {}, {}],
  ])('is a page fault with %s, unless IG or SupIOPF keeps it from the log', (_what, data, entry, flags) => {
    const rig = new Rig()
    const table = remapping(rig)
    short(rig, table, 0, entry)
    expect(send(rig, data)).toMatchObject({ ok: false, name: 'IO_PAGE_FAULT', response: 'abort', access: 'write' })
    expect(rig.logged()).toEqual([
      { event: 'IO_PAGE_FAULT', DeviceID: DEVICE, 'DomainID/PASID[15:0]': 7, I: 1, Address: Number(ADDRESS), ...flags },
    ])
    remapping(rig, { IG: 1, InterruptTableRootPtr: BigInt(table) })
    rig.command('INVALIDATE_DEVTAB_ENTRY', { DeviceID: DEVICE })
    expect(send(rig, data)).toMatchObject({ ok: false, record: null })
    expect(rig.logged()).toEqual([])
  })

  it('keeps faults of entries with SupIOPF from the log', () => {
    const rig = new Rig()
    short(rig, remapping(rig), 0, { RemapEn: 0, SupIOPF: 1 })
    expect(send(rig, 0)).toMatchObject({ ok: false, record: null })
    expect(rig.logged()).toEqual([])
  })

  it.each([
    ['NMI', 4, 'NMIPass'],
    ['INIT', 5, 'InitPass'],
    ['ExtInt', 7, 'EIntPass'],
  ] as const)('lets %s pass where the entry says so', (_what, mode, field) => {
    const rig = new Rig()
    remapping(rig)
    expect(send(rig, mode << 8)).toMatchObject({ ok: false, name: 'IO_PAGE_FAULT' })
    remapping(rig, { [field]: 1 })
    rig.command('INVALIDATE_DEVTAB_ENTRY', { DeviceID: DEVICE })
    expect(send(rig, mode << 8)).toMatchObject({ ok: true, remapped: false, deliveryMode: mode })
  })

  it('lets SMIs pass', () => {
    const rig = new Rig()
    remapping(rig)
    expect(send(rig, 2 << 8)).toMatchObject({ ok: true, remapped: false, deliveryMode: 2 })
  })

  it('does not ask V, which is about memory', () => {
    const rig = new Rig()
    short(rig, remapping(rig, { V: 0, TV: 0 }), 0, { Vector: 9 })
    expect(send(rig, 0)).toMatchObject({ remapped: true, vector: 9 })
  })

  it('refuses interrupts of devices without an entry', () => {
    const rig = new Rig()
    expect(rig.iommu.interrupt({ device: 0x300, address: ADDRESS, data: 0 })).toMatchObject({ ok: false, name: 'IO_PAGE_FAULT' })
    expect(rig.logged()).toMatchObject([{ I: 1, DeviceID: 0x300 }])
  })
})
