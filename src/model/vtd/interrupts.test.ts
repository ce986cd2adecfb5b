/** Interrupt remapping and posting. Intel VT-d, chapter 5 and section 6.4. */
import { describe, expect, it } from 'vitest'
import { encode, wordsToU64 } from '../../base/layout.ts'
import * as dsc from '../../format/vtd/descriptors.ts'
import { COMPATIBILITY_ADDRESS, INTERRUPT_DATA, PI_DESCRIPTOR } from '../../format/vtd/irte.ts'
import { GS_CFI, GS_IRE, REG } from '../../format/vtd/registers.ts'
import { DEVICE, Rig } from './rig.suite.ts'

/** The message of a remappable interrupt. */
const remappable = (handle: number, subhandle: number | null = null) => ({
  device: DEVICE,
  address: BigInt(0xfee0_0010 | ((handle & 0x7fff) << 5) | ((handle >>> 15) << 2) | (subhandle === null ? 0 : 8)) & 0xffffffffn,
  data: subhandle ?? 0,
})
const compatible = (values: object, data: object) => ({
  device: DEVICE,
  address: wordsToU64(encode(COMPATIBILITY_ADDRESS, { FEE: 0xfee, ...values }))[0]!,
  data: encode(INTERRUPT_DATA, data)[0]!,
})
const reason = (outcome: ReturnType<Rig['iommu']['interrupt']>) => (outcome.ok ? 0 : outcome.code)

describe('messages in compatibility format', () => {
  const message = compatible({ DST: 0x5a, DM: 1 }, { V: 0x33, DLM: 1, TM: 1 })
  const plain = {
    ok: true,
    remapped: false,
    vector: 0x33,
    destination: 0x5a,
    logical: true,
    deliveryMode: 1,
    level: true,
    posted: null,
  }

  it('go on as they are while remapping is off', () => {
    expect(new Rig().iommu.interrupt(message)).toEqual(plain)
  })

  it('are blocked while it is on, unless CFI lets them pass, which EIME forbids', () => {
    const rig = new Rig()
    rig.remapInterrupts()
    expect(reason(rig.iommu.interrupt(message))).toBe(0x25)
    rig.command(GS_CFI)
    expect(rig.iommu.interrupt(message)).toEqual(plain)
    const extended = new Rig()
    extended.remapInterrupts(true)
    extended.command(GS_CFI)
    expect(reason(extended.iommu.interrupt(message))).toBe(0x25)
  })
})

describe('messages in remappable format', () => {
  it('become what the entry of their index says', () => {
    const rig = new Rig()
    rig.irte(5, { V: 0x41, DST: 0x2300, DM: 1, DLM: 2, TM: 1 })
    rig.irte(0xff, { V: 0x42, DST: 0x0100 })
    rig.remapInterrupts()
    const expected = {
      ok: true,
      remapped: true,
      vector: 0x41,
      destination: 0x23,
      logical: true,
      deliveryMode: 2,
      level: true,
      posted: null,
    }
    expect(rig.iommu.interrupt(remappable(5))).toEqual(expected)
    // A subhandle is added
    expect(rig.iommu.interrupt(remappable(2, 3))).toEqual(expected)
    expect(rig.iommu.interrupt(remappable(0xff))).toMatchObject({ vector: 0x42, destination: 1 })
    expect(reason(rig.iommu.interrupt(remappable(0x100)))).toBe(0x21)
    expect(reason(rig.iommu.interrupt(remappable(0x8005)))).toBe(0x21)
  })

  it('have destinations of 32 bits in extended mode', () => {
    const rig = new Rig()
    rig.irte(1, { V: 0x41, DST: 0x1234_5678 })
    rig.remapInterrupts(true)
    expect(rig.iommu.interrupt(remappable(1))).toMatchObject({ destination: 0x1234_5678 })
  })

  it('are checked for who sent them: SID with SQ, or a range of buses', () => {
    const rig = new Rig()
    const from = (device: number, index: number) => reason(rig.iommu.interrupt({ ...remappable(index), device }))
    rig.irte(1, { SVT: 1, SID: 0x0130 })
    rig.irte(2, { SVT: 1, SID: 0x0130, SQ: 1 })
    rig.irte(3, { SVT: 1, SID: 0x0130, SQ: 2 })
    rig.irte(4, { SVT: 1, SID: 0x0130, SQ: 3 })
    rig.irte(5, { SVT: 2, SID: 0x0204 })
    rig.irte(6, { SVT: 3 })
    rig.remapInterrupts()
    expect([0x0130, 0x0131, 0x0134].map((device) => from(device, 1))).toEqual([0, 0x26, 0x26])
    expect([0x0134, 0x0132].map((device) => from(device, 2))).toEqual([0, 0x26])
    expect([0x0136, 0x0131].map((device) => from(device, 3))).toEqual([0, 0x26])
    expect([0x0137, 0x0138].map((device) => from(device, 4))).toEqual([0, 0x26])
    expect([0x01ff, 0x0200, 0x04ff, 0x0500].map((device) => from(device, 5))).toEqual([0x26, 0, 0, 0x26])
    expect(from(1, 6)).toBe(0x24)
  })

  it('are recorded with their index when they are refused', () => {
    const rig = new Rig()
    rig.remapInterrupts()
    const outcome = rig.iommu.interrupt(remappable(0x23))
    const entryAddress = BigInt(rig.irt + 0x23 * 16)
    expect(outcome).toMatchObject({
      ok: false,
      code: 0x22,
      name: '22h',
      response: 'unsupported-request',
      entryAddress,
      entry: 0n,
    })
    expect(rig.get8(0x220)).toBe(0x23n << 48n)
    expect(rig.fault()).toMatchObject({ F: 1, FR: 0x22, SID: DEVICE })
    expect(rig.interrupts).toEqual(['fault-event'])
    const quiet = new Rig()
    quiet.irte(1, { P: 0, FPD: 1 })
    quiet.remapInterrupts()
    expect(quiet.iommu.interrupt(remappable(1))).toMatchObject({ code: 0x22, record: null })
    expect(quiet.faults()).toEqual([])
  })
})

describe('posted interrupts', () => {
  const posted = (descriptor: object, entry: object = {}, extended = false) => {
    const rig = new Rig()
    const at = rig.memory.allocate(4096)
    rig.put(at, PI_DESCRIPTOR, { NV: 0xf2, NDST: 0x0300, ...descriptor })
    rig.irtePosted(1, { V: 200, PDAL: BigInt(at), ...entry })
    rig.remapInterrupts(extended)
    return { rig, at, outcome: rig.iommu.interrupt(remappable(1)) }
  }

  it('set the bit of their vector, and notify once', () => {
    const { rig, at, outcome } = posted({})
    expect(outcome).toEqual({
      ok: true,
      remapped: true,
      vector: 0xf2,
      destination: 3,
      logical: false,
      deliveryMode: 0,
      level: false,
      posted: BigInt(at),
      notified: true,
    })
    expect(rig.memory.read64(at + 24)).toBe(1n << 8n)
    expect(rig.memory.read32(at + 32) & 3).toBe(1)
    expect(rig.iommu.interrupt(remappable(1))).toMatchObject({ notified: false })
  })

  it('do not notify while SN is 1, unless they are urgent', () => {
    expect(posted({ SN: 1 }).outcome).toMatchObject({ notified: false })
    expect(posted({ SN: 1 }, { URG: 1 }).outcome).toMatchObject({ notified: true })
    expect(posted({ ON: 1 }, { URG: 1 }).outcome).toMatchObject({ notified: false })
    expect(posted({ NDST: 0x12345 }, {}, true).outcome).toMatchObject({ destination: 0x12345 })
  })

  it('need CAP.PI', () => {
    const rig = new Rig({ cap: { PI: 0 } })
    rig.irtePosted(1, { PDAL: 0x4000_0000n })
    rig.remapInterrupts()
    expect(reason(rig.iommu.interrupt(remappable(1)))).toBe(0x24)
  })
})

describe('the interrupt entry cache', () => {
  const start = (options = {}) => {
    const rig = new Rig(options)
    for (const index of [4, 5, 6, 7]) rig.irte(index, { V: 0x40 + index })
    rig.remapInterrupts()
    for (const index of [4, 5, 6, 7]) rig.iommu.interrupt(remappable(index))
    for (const index of [4, 5, 6, 7]) rig.irte(index, { V: 0x80 + index })
    const changed = () =>
      [4, 5, 6, 7].filter((index) => (rig.iommu.interrupt(remappable(index)) as { vector: number }).vector >= 0x80)
    return { rig, changed }
  }

  it('answers until it is told to forget: all, or some indices', () => {
    const { rig, changed } = start()
    expect(changed()).toEqual([])
    rig.send(dsc.IEC_INV_DSC, { G: 1, IIDX: 5 })
    expect(changed()).toEqual([5])
    rig.send(dsc.IEC_INV_DSC, { G: 1, IIDX: 6, IM: 1 })
    expect(changed()).toEqual([5, 6, 7])
    rig.send(dsc.IEC_INV_DSC)
    expect(changed()).toEqual([4, 5, 6, 7])
  })

  it('is emptied by a new table, and when remapping is switched off', () => {
    const first = start()
    first.rig.remapInterrupts()
    expect(first.changed()).toEqual([4, 5, 6, 7])
    const second = start()
    second.rig.uncommand(GS_IRE)
    second.rig.command(GS_IRE)
    expect(second.changed()).toEqual([4, 5, 6, 7])
    const third = start({ cap: { ESIRTPS: 0 } })
    third.rig.remapInterrupts()
    expect(third.changed()).toEqual([])
  })

  it('remembers entries that are no good in caching mode only', () => {
    for (const CM of [0, 1]) {
      const rig = new Rig({ cap: { CM } })
      rig.remapInterrupts()
      rig.iommu.interrupt(remappable(4))
      rig.irte(4, { V: 0x44 })
      expect(reason(rig.iommu.interrupt(remappable(4)))).toBe(CM === 1 ? 0x22 : 0)
    }
  })
})

it('uses the table that was there when software set the pointer', () => {
  const rig = new Rig()
  rig.irte(1, { V: 0x41 })
  rig.remapInterrupts()
  rig.set8(REG.IRTA, 0n)
  expect(rig.iommu.interrupt(remappable(1))).toMatchObject({ vector: 0x41 })
})
