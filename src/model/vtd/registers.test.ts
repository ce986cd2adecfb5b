/** Registers, handshakes, register-based invalidation, fault logging and its interrupt. Intel VT-d, sections 6.5.1, 7.2, 7.3 and 11.4. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { encode, wordsToU64 } from '../../base/layout.ts'
import { FAULT_RECORD } from '../../format/vtd/records.ts'
import { CCMD, GS_CFI, GS_IRE, GS_IRTP, GS_QIE, GS_RTP, GS_TE, GS_WBF, IOTLB, IVA, REG } from '../../format/vtd/registers.ts'
import { PhysicalMemory } from '../../memory/physical.ts'
import { VtdIommu } from './iommu.ts'
import { DEVICE, RAM, Rig, RW } from './rig.suite.ts'

const PAGE = 0x10_0000
const OUT = 0x5000_0000
const status = (rig: Rig) => rig.get(REG.GSTS) >>> 0

describe('registers', () => {
  it('say what the options say', () => {
    const iommu = new VtdIommu(new PhysicalMemory([RAM]), { cap: { MGAW: 38, NFR: 0 }, ecap: { SMTS: 0, PASID: 0 } })
    expect(iommu.features).toMatchObject({ guestAddressBits: 39, scalable: false, pasidBits: 0 })
    expect(iommu.read(REG.VER, 4)).toBe(0x50n)
    iommu.write(REG.CAP, 8, 0n)
    expect((iommu.read(REG.CAP, 8) >> 16n) & 63n).toBe(38n)
  })

  it('acknowledge each command of GCMD in GSTS, and keep the others', () => {
    const rig = new Rig({ start: false, queue: false, cap: { RWBF: 1 } })
    expect(status(rig)).toBe(GS_RTP >>> 0)
    for (const bit of [GS_TE, GS_QIE, GS_IRE, GS_CFI]) {
      rig.command(bit)
      expect(status(rig) & bit).toBe(bit)
    }
    rig.command(GS_IRTP)
    expect(status(rig) & GS_IRTP).toBe(GS_IRTP)
    rig.command(GS_WBF)
    expect(status(rig) & GS_WBF).toBe(0)
    rig.uncommand(GS_QIE)
    expect(status(rig) >>> 0).toBe((GS_RTP | GS_TE | GS_IRE | GS_CFI | GS_IRTP) >>> 0)
  })

  it('take RTADDR over when software says so, and not before', () => {
    const rig = new Rig({ mode: 'legacy' })
    rig.context(DEVICE, { TT: 2 })
    rig.set8(REG.RTADDR, BigInt(rig.memory.allocate(4096)))
    expect(rig.reach(PAGE)).toBe(BigInt(PAGE))
    rig.command(GS_RTP)
    expect(rig.reach(PAGE)).toBe('1h LRT.2')
  })

  it('keep what is writable: the property of every register', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0x2ff }), fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }), (word, value) => {
        const iommu = new VtdIommu(new PhysicalMemory([RAM]))
        const readOnly = [REG.VER, REG.CAP, REG.CAP + 4, REG.ECAP, REG.ECAP + 4, REG.GSTS, REG.IQH, REG.IQERCD]
        const offset = word & ~3
        const before = iommu.read(offset, 4)
        iommu.write(offset, 4, value & 0xffffffffn)
        if ((readOnly as number[]).includes(offset)) expect(iommu.read(offset, 4)).toBe(before)
        // An address register never has more than its own bits: nothing is lost by reading back.
        const first = iommu.read(offset, 4)
        iommu.write(offset, 4, value & 0xffffffffn)
        if (offset !== REG.GCMD && offset !== REG.FSTS) expect(iommu.read(offset, 4)).toBe(first)
      }),
      { numRuns: 150 },
    )
  })

  it('are read and written at their own alignment only', () => {
    const rig = new Rig()
    expect(rig.iommu.read(REG.CAP + 4, 8)).toBe(0n)
    expect(rig.iommu.read(0x1000, 4)).toBe(0n)
    rig.iommu.write(REG.RTADDR + 4, 8, -1n)
    expect(rig.iommu.read(REG.RTADDR + 4, 4)).toBe(0n)
  })

  it('are taken over from a dump: names with or without _REG, capabilities first', () => {
    const from = new Rig({ mode: 'legacy' })
    const { table, legacy } = from.second()
    table.map(PAGE, OUT, 0x1000, RW)
    from.context(DEVICE, legacy)
    from.reach(PAGE + 0x2000)
    const iommu = new VtdIommu(from.memory)
    iommu.translate({ device: 1, iova: 0n, access: 'read' })
    iommu.loadRegisters({
      CAP_REG: from.get8(REG.CAP),
      ECAP: from.get8(REG.ECAP),
      GSTS: status(from),
      RTADDR_REG: from.get8(REG.RTADDR),
      FRCD0_LO: from.get8(0x220),
      FRCD0_HI: from.get8(0x228),
      UNKNOWN: 1,
    })
    expect(iommu.translate({ device: DEVICE, iova: BigInt(PAGE), access: 'read' })).toMatchObject({ ok: true, pa: BigInt(OUT) })
    // The record that was pending is not overwritten
    expect(Number(iommu.read(REG.FSTS, 4)) & 3).toBe(2)
    iommu.translate({ device: 5, iova: 0n, access: 'read' })
    expect(iommu.read(0x228, 8)).toBe(from.get8(0x228))
    expect((iommu.read(0x238, 8) >> 63n) & 1n).toBe(1n)
    const whole = wordsToU64(encode(FAULT_RECORD, { F: 1, FR: 5, SID: 7 }))
    iommu.loadRegisters({ FRCD0: whole[0]! | (whole[1]! << 64n) })
    expect(iommu.read(0x228, 8)).toBe(whole[1])
  })
})

describe('register-based invalidation', () => {
  const start = (options = {}) => {
    const rig = new Rig({ mode: 'legacy', queue: false, ...options })
    const { table, legacy } = rig.second()
    table.map(PAGE, OUT, 0x4000, RW, { maxLeafDepth: 0 })
    rig.context(DEVICE, { ...legacy, DID: 5 })
    for (const page of [0, 1, 2, 3]) rig.dma(PAGE + page * 4096)
    table.unmap(PAGE, 0x4000)
    return rig
  }
  const iotlb = (rig: Rig, values: object, iva: object = {}) => {
    rig.set8(0xf0, wordsToU64(encode(IVA, iva))[0]!)
    rig.set8(0xf8, wordsToU64(encode(IOTLB, { IVT: 1, ...values }))[0]!)
    return (rig.get8(0xf8) >> 57n) & 0x43n
  }
  const alive = (rig: Rig) => [0, 1, 2, 3].filter((page) => rig.dma(PAGE + page * 4096).ok)

  it('forgets all translations, those of a domain, or pages of one', () => {
    const all = start()
    expect(iotlb(all, { IIRG: 1 })).toBe(1n)
    expect(alive(all)).toEqual([])
    const other = start()
    expect(iotlb(other, { IIRG: 2, DID: 6 })).toBe(2n)
    expect(alive(other)).toEqual([0, 1, 2, 3])
    expect(iotlb(other, { IIRG: 3, DID: 5 }, { AM: 1, ADDR: BigInt(PAGE + 0x3000) })).toBe(3n)
    expect(alive(other)).toEqual([0, 1])
    expect(iotlb(other, { IIRG: 2, DID: 5 })).toBe(2n)
    expect(alive(other)).toEqual([])
  })

  it('tells of wrong requests: a mask that is too large, no granularity, the queue being on, another mode', () => {
    const rig = start({ cap: { MAMV: 4 } })
    expect(iotlb(rig, { IIRG: 3, DID: 5 }, { AM: 5 })).toBe(0n)
    expect(iotlb(rig, {})).toBe(0n)
    expect(iotlb(start({ queue: true }), { IIRG: 1 })).toBe(0n)
    expect(alive(rig)).toEqual([0, 1, 2, 3])
    const scalable = new Rig({ queue: false })
    expect(iotlb(scalable, { IIRG: 1 })).toBe(0n)
    scalable.set8(REG.CCMD, wordsToU64(encode(CCMD, { ICC: 1, CIRG: 1 }))[0]!)
    expect(scalable.get8(REG.CCMD) >> 59n).toBe(4n)
  })

  it('forgets context entries: all, those of a domain, those of a device', () => {
    for (const [given, gone] of [
      [{ CIRG: 1 }, true],
      [{ CIRG: 2, DID: 5 }, true],
      [{ CIRG: 2, DID: 6 }, false],
      [{ CIRG: 3, DID: 5, SID: DEVICE }, true],
      [{ CIRG: 3, DID: 6, SID: DEVICE }, false],
      [{ CIRG: 3, DID: 5, SID: DEVICE + 1 }, false],
      [{ CIRG: 3, DID: 5, SID: DEVICE + 7, FM: 3 }, true],
      [{ CIRG: 3, DID: 5, SID: DEVICE + 4, FM: 1 }, true],
      [{ CIRG: 3, DID: 5, SID: DEVICE + 4, FM: 0 }, false],
    ] as const) {
      const rig = start()
      rig.context(DEVICE, { P: 0 })
      rig.set8(REG.CCMD, wordsToU64(encode(CCMD, { ICC: 1, ...given }))[0]!)
      expect((rig.get8(REG.CCMD) >> 59n) & 0x13n).toBe(BigInt(given.CIRG))
      expect([given, alive(rig).length === 0]).toEqual([given, gone])
    }
  })
})

describe('fault logging', () => {
  it('fills the registers in turn, keeps the first index, overflows, and goes on when software has read them', () => {
    const rig = new Rig({ mode: 'legacy', cap: { NFR: 1 } })
    const fsts = () => rig.get(REG.FSTS)
    rig.dma(0x1000)
    rig.dma(0x2000, { access: 'write' })
    expect(fsts()).toBe(0x002)
    rig.dma(0x3000)
    expect(fsts()).toBe(0x003)
    expect(rig.fault(0)).toMatchObject({ FI: 0x1000n, T1: 1, T2: 0 })
    expect(rig.fault(1)).toMatchObject({ FI: 0x2000n, T1: 0, T2: 0 })
    rig.set(0x22c, 0x8000_0000)
    expect(fsts()).toBe(0x003)
    rig.dma(0x4000)
    expect(rig.fault(0).F).toBe(0)
    rig.set(REG.FSTS, 1)
    rig.set(0x23c, 0x8000_0000)
    expect(fsts() & 3).toBe(0)
    rig.dma(0x5000)
    expect(rig.fault(0)).toMatchObject({ F: 1, FI: 0x5000n })
    // One interrupt each time that everything had been served
    expect(rig.interrupts).toEqual(['fault-event', 'fault-event'])
    rig.dma(0x6000)
    rig.set(0x22c, 0x8000_0000)
    expect(fsts()).toBe(0x002)
  })

  it('starts again at the first register when translation and interrupt remapping are off', () => {
    const rig = new Rig({ mode: 'legacy' })
    rig.dma(0x1000)
    rig.faults()
    rig.uncommand(GS_TE)
    rig.command(GS_TE)
    rig.dma(0x2000)
    expect(rig.fault(0)).toMatchObject({ F: 1, FI: 0x2000n })
  })

  it('collapses faults of a device of which one is pending, where that is asked for', () => {
    const rig = new Rig({ mode: 'legacy', collapseFaults: true })
    rig.dma(0x1000)
    rig.dma(0x2000)
    rig.dma(0x3000, { device: 9 })
    expect([0, 1, 2].map((index) => rig.fault(index).F)).toEqual([1, 1, 0])
    expect(rig.fault(1)).toMatchObject({ SID: 9 })
  })

  it('records who asked for what: PASID, privilege, execution, type of the address', () => {
    const rig = new Rig()
    rig.dma(0x1234_5678_9abcn, { pasid: 0x12345, privileged: true, access: 'execute' })
    expect(rig.fault(0)).toMatchObject({ PP: 1, PV: 0x12345, PRIV: 1, EXE: 1, T1: 1, AT: 0, FI: 0x1234_5678_9000n })
    rig.dma(0x1000, { access: 'write', privileged: true })
    expect(rig.fault(1)).toMatchObject({ PP: 0, PV: 0, PRIV: 0, EXE: 0, T1: 0 })
    rig.dma(0x1000, { access: 'write', kind: 'ats-request' })
    expect(rig.fault(2)).toMatchObject({ AT: 1, T1: 1 })
    rig.dma(0x1000, { access: 'write', kind: 'translated' })
    expect(rig.fault(3)).toMatchObject({ AT: 2, T1: 0 })
    expect(rig.dma(0x1000)).toMatchObject({ record: [expect.any(BigInt), expect.any(BigInt)] })
  })

  it('holds the interrupt back while it is masked, and forgets it when software has served all', () => {
    const rig = new Rig({ mode: 'legacy' })
    rig.set(REG.FECTL, 0x8000_0000)
    rig.dma(0x1000)
    expect([rig.get(REG.FECTL) >>> 0, rig.interrupts]).toEqual([0xc000_0000, []])
    rig.faults()
    expect(rig.get(REG.FECTL) >>> 0).toBe(0x8000_0000)
    rig.dma(0x1000)
    rig.set(REG.FECTL, 0)
    expect([rig.get(REG.FECTL), rig.interrupts]).toEqual([0, ['fault-event']])
  })

  it('sends no interrupt while software has yet to serve another condition, of whatever kind', () => {
    const rig = new Rig({ mode: 'legacy' })
    rig.sendWords(Uint32Array.of(0xe))
    rig.dma(0x1000)
    rig.iommu.invalidationComplete(3)
    expect([rig.get(REG.FSTS), rig.interrupts]).toEqual([0x32, ['fault-event']])
    rig.faults()
    rig.set(REG.FSTS, 0x20)
    rig.dma(0x1000)
    expect(rig.interrupts.length).toBe(1)
  })

  it('lets the handler of an interrupt use the unit', () => {
    const rig = new Rig({ mode: 'legacy' })
    const seen: number[] = []
    rig.iommu.onInterrupt = () => seen.push(...rig.faults())
    rig.dma(0x1000)
    rig.dma(0x1000)
    expect(seen).toEqual([1, 1])
  })
})
