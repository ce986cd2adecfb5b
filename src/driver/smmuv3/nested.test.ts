import { describe, expect, it } from 'vitest'
import { encode, type Values } from '../../base/layout.ts'
import { CFGI_CD, CFGI_STE, TLBI_NH_ASID, TLBI_NH_VA } from '../../format/smmuv3/commands.ts'
import { STE } from '../../format/smmuv3/ste.ts'
import { atcInvalidate, cfgiCd, resume, tlbiAll, tlbiAsid, tlbiVa, tlbiVmid } from './commands.ts'
import { Bench, PCIE, syncs } from './driver.suite.ts'

const GUEST: Partial<Values<typeof STE.fields>> = { V: 1, Config: 5, S1ContextPtr: 0x8000_0000n, S1CDMax: 4, S1DSS: 2, EATS: 1 }

function guestOnTwo() {
  const bench = new Bench()
  const devices = [bench.device(1), bench.device(2)] as const
  const domain = bench.domain('guest', 'nested', ...devices)
  const set = (values: Partial<Values<typeof STE.fields>> | null) =>
    bench.smmu.sent(bench.driver.setGuestEntry(devices[0], values === null ? null : encode(STE, values)))
  return { bench, devices, domain, set }
}

describe('a nested domain', () => {
  it('is stage 2 alone until the guest has set its STE up', () => {
    const { bench, set } = guestOnTwo()
    expect(bench.steFields(1)).toMatchObject({ Config: 6, S2VMID: 1 })
    const sent = set(GUEST)
    expect(bench.steFields(1)).toMatchObject({ Config: 7, S1ContextPtr: 0x8000_0000n, S1CDMax: 4, S2VMID: 1 })
    expect(bench.steFields(2)).toMatchObject({ Config: 6 })
    expect(sent.slice(-2)).toEqual(['ATC_INV StreamID=1 Size=52', 'SYNC'])
    // Config and the CD table pointer are one word, the rest is not used before: hitless.
    expect(syncs(sent) - 1).toBeLessThanOrEqual(3)
    set({})
    expect(bench.steFields(1)).toMatchObject({ Config: 0 })
    set(null)
    expect(bench.steFields(1)).toMatchObject({ Config: 6 })
  })
  it('keeps what it has when the guest asks for what is not its own', () => {
    const { bench, set } = guestOnTwo()
    set(GUEST)
    const before = bench.ste(1)
    expect(() => set({ ...GUEST, S2TTB: 0x9000_0000n })).toThrow(expect.objectContaining({ code: 'BadArgument' }))
    expect(bench.ste(1)).toEqual(before)
    expect(bench.failure(() => bench.driver.setGuestEntry(bench.device(3, PCIE), null))).toMatchObject({ code: 'NoDomain' })
  })
  it('takes all that combines both stages along when stage 2 changes under a guest', () => {
    const { bench, domain, set } = guestOnTwo()
    bench.map(domain, 0x8000_0000n, 0x5000_0000n, 0x2000n)
    expect(bench.unmap(domain, 0x8000_0000n, 0x1000n)).toEqual([
      'TLBI_S2_IPA VMID=1 Leaf=1 Address=0x80000000',
      'SYNC',
      'ATC_INV StreamID=1 Address=0x80000000',
      'ATC_INV StreamID=2 Address=0x80000000',
      'SYNC',
    ])
    set(GUEST)
    expect(bench.unmap(domain, 0x8000_1000n, 0x1000n)).toEqual([
      'TLBI_S2_IPA VMID=1 Address=0x80001000',
      'TLBI_NH_ALL VMID=1',
      'SYNC',
      'ATC_INV StreamID=1 Size=52',
      'SYNC',
      'ATC_INV StreamID=2 Address=0x80001000',
      'SYNC',
    ])
  })
  it("sends the guest's invalidations under its own VMID, for its own streams", () => {
    const { bench, domain } = guestOnTwo()
    const send = (...commands: Uint32Array[]) => bench.smmu.sent(bench.driver.guestInvalidate(domain, commands))
    const range = { address: 0x4000n, tg: 0, num: 0, scale: 0 }
    expect(
      send(
        tlbiAll(),
        tlbiAsid(5),
        encode(TLBI_NH_ASID, { opcode: 0x11, VMID: 99, ASID: 6 }),
        tlbiVa(5, range, true),
        cfgiCd(1, 3),
        atcInvalidate(2, 3, null),
      ),
    ).toEqual([
      'TLBI_NH_ALL VMID=1',
      'TLBI_NH_ASID VMID=1 ASID=5',
      'TLBI_NH_ASID VMID=1 ASID=6',
      'TLBI_NH_VA VMID=1 ASID=5 Leaf=1 Address=0x4000',
      'CFGI_CD SubstreamID=3 StreamID=1 Leaf=1',
      'ATC_INV SSV=1 SubstreamID=3 StreamID=2 Size=52',
      'SYNC',
    ])
    expect(encode(TLBI_NH_VA, { VMID: 1 })).toEqual(encode(TLBI_NH_ASID, { VMID: 1 }))
    for (const command of [
      cfgiCd(3, 3),
      encode(CFGI_CD, { opcode: 6, StreamID: 9 }),
      atcInvalidate(3, null, null),
      encode(CFGI_STE, { opcode: 3, StreamID: 1 }),
      tlbiVmid(1),
      resume(1, 1, 'success'),
      Uint32Array.of(0xff, 0, 0, 0),
    ])
      expect(() => send(command)).toThrow(expect.objectContaining({ code: 'BadArgument' }))
  })
  it('frees its VMID with everything under it', () => {
    const { bench, devices, domain } = guestOnTwo()
    for (const device of devices) bench.detach(domain, device)
    expect(bench.smmu.sent(bench.driver.domainFree(domain))).toEqual(['TLBI_S12_VMALL VMID=1', 'SYNC'])
    bench.domain('next', 'nested', devices[0])
    expect(bench.steFields(1)).toMatchObject({ S2VMID: 1 })
  })
  it('needs a stage 2', () => {
    const bench = new Bench({ IDR0: { S2P: 0 } })
    expect(bench.failure(() => bench.driver.domainAlloc({ name: 'guest', kind: 'nested', devices: new Set() }))).toMatchObject({
      code: 'Unsupported',
    })
    expect(bench.failure(() => bench.driver.guestInvalidate(bench.domain('A', 'dma'), []))).toMatchObject({ code: 'Unsupported' })
  })
})
