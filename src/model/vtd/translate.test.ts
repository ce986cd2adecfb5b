/** Translation in every mode. Intel VT-d, chapters 3 and 4. */
import { describe, expect, it } from 'vitest'
import { ALL_RIGHTS, PR, PW, UR, UW } from '../../base/types.ts'
import { SS_A, SS_D } from '../../format/pt/vtd-second.ts'
import { X86_A, X86_D, X86_EA } from '../../format/pt/x86.ts'
import { GS_TE, REG } from '../../format/vtd/registers.ts'
import { DEVICE, HOLE, RAM, Rig, RW } from './rig.suite.ts'

const PAGE = 0x10_0000
const OUT = 0x5000_0000

describe('legacy mode', () => {
  for (const levels of [3, 4, 5] as const)
    it(`translates through second stages of ${levels} levels, with pages of every size`, () => {
      const rig = new Rig({ mode: 'legacy' })
      const { table, legacy } = rig.second(levels)
      table.map(PAGE, OUT, 0x1000, RW)
      table.map(0x20_0000, 0x5020_0000, 0x20_0000, RW)
      table.map(0x4000_0000, 0x4000_0000, 0x4000_0000, RW)
      rig.context(DEVICE, legacy)
      expect(rig.reach(PAGE + 0x123)).toBe(BigInt(OUT + 0x123))
      expect(rig.reach(0x20_1234, { access: 'write' })).toBe(0x5020_1234n)
      expect(rig.dma(0x4567_89ab)).toMatchObject({ ok: true, pa: 0x4567_89abn, sizeLog2: 30, rights: RW | 36 })
      expect(rig.reach(0x8000_0000)).toBe('6h LGN.3')
    })

  it('serves each function of a bus by its own context entry', () => {
    const rig = new Rig({ mode: 'legacy' })
    for (const device of [0x0000, 0x00ff, 0x1200, 0xffff]) {
      const { table, legacy } = rig.second()
      table.map(PAGE, OUT + device * 4096, 0x1000, RW)
      rig.context(device, { ...legacy, DID: device & 0xff })
    }
    for (const device of [0x0000, 0x00ff, 0x1200, 0xffff]) expect(rig.reach(PAGE, { device })).toBe(BigInt(OUT + device * 4096))
  })

  it('passes requests through where TT says so, and no translation requests', () => {
    const rig = new Rig({ mode: 'legacy' })
    rig.context(DEVICE, { TT: 2 })
    expect(rig.reach(0x1234_5678)).toBe(0x1234_5678n)
    expect(rig.dma(0x1234_5678, { kind: 'ats-request' })).toMatchObject({ code: 0x0d, response: 'unsupported-request' })
    expect(rig.dma(0x1234_5678, { kind: 'translated' })).toMatchObject({ code: 0x0d, response: 'unsupported-request' })
  })

  it('answers translation requests, and takes translated ones, where TT says so', () => {
    const rig = new Rig({ mode: 'legacy' })
    const { table, legacy } = rig.second()
    table.map(PAGE, OUT, 0x1000, RW)
    table.map(PAGE + 0x1000, OUT + 0x1000, 0x1000, UR | PR)
    rig.context(DEVICE, { ...legacy, TT: 1 })
    expect(rig.dma(PAGE, { kind: 'ats-request', access: 'write' })).toMatchObject({ pa: BigInt(OUT), rights: UR | UW })
    // The no-write flag, and a page that is not writable
    expect(rig.dma(PAGE, { kind: 'ats-request' })).toMatchObject({ pa: BigInt(OUT), rights: UR })
    expect(rig.dma(PAGE + 0x1000, { kind: 'ats-request', access: 'write' })).toMatchObject({ rights: UR })
    expect(rig.dma(PAGE + 0x2000, { kind: 'ats-request' })).toMatchObject({ code: 6, response: 'no-access', record: null })
    expect(rig.reach(OUT + 8, { kind: 'translated', access: 'write' })).toBe(BigInt(OUT + 8))
    expect(rig.faults()).toEqual([])
  })

  it('ignores the no-write flag without ECAP.NWFS', () => {
    const rig = new Rig({ mode: 'legacy', ecap: { NWFS: 0 } })
    const { table, legacy } = rig.second()
    table.map(PAGE, OUT, 0x1000, RW)
    rig.context(DEVICE, { ...legacy, TT: 1 })
    expect(rig.dma(PAGE, { kind: 'ats-request' })).toMatchObject({ rights: UR | UW })
  })
})

describe('scalable mode', () => {
  for (const levels of [4, 5] as const)
    it(`translates through first stages of ${levels} levels`, () => {
      const rig = new Rig()
      const { table, pasid } = rig.first(levels)
      table.map(PAGE, OUT, 0x1000, RW)
      table.map(0x20_0000, 0x5020_0000, 0x20_0000, RW)
      table.map(0x4000_0000, 0x4000_0000, 0x4000_0000, RW)
      rig.plain(DEVICE, pasid)
      expect(rig.reach(PAGE + 0x123)).toBe(BigInt(OUT + 0x123))
      expect(rig.reach(0x20_1234, { access: 'write' })).toBe(0x5020_1234n)
      expect(rig.dma(0x4567_89ab)).toMatchObject({ ok: true, pa: 0x4567_89abn, sizeLog2: 30 })
      expect(rig.reach(0x8000_0000)).toBe('71h SFS.2')
    })

  it('reaches the upper half of a canonical address space', () => {
    const rig = new Rig()
    const { table, pasid } = rig.first()
    const top = 0xffff_ffff_ffff_f000n
    table.map(Number(BigInt.asUintN(48, top)), OUT, 0x1000, RW)
    rig.plain(DEVICE, pasid)
    expect(rig.reach(top)).toBe(BigInt(OUT))
    expect(rig.reach(0x0000_ffff_ffff_f000n)).toBe('80h SGN.1')
  })

  it('translates through second stages, nested stages, and not at all, by PASID', () => {
    const rig = new Rig()
    const directory = rig.smContext(DEVICE)
    const second = rig.second()
    second.table.map(PAGE, OUT, 0x1000, RW)
    rig.pasid(directory, 1, { ...second.pasid, DID: 1 })
    const nested = rig.nested()
    nested.inner.table.map(PAGE, OUT + 0x3000, 0x1000, RW)
    rig.pasid(directory, 70, { ...nested.pasid, DID: 2 })
    rig.pasid(directory, 200, { PGTT: 4, AW: 2, DID: 3 })
    expect(rig.reach(PAGE, { pasid: 1 })).toBe(BigInt(OUT))
    expect(rig.reach(PAGE + 4, { pasid: 70, access: 'write' })).toBe(BigInt(OUT + 0x3004))
    expect(rig.reach(0x1234, { pasid: 200 })).toBe(0x1234n)
    expect(rig.dma(0x1234, { pasid: 200, kind: 'ats-request', access: 'write' })).toMatchObject({
      pa: 0x1234n,
      sizeLog2: 30,
      rights: UR | UW,
    })
    expect(rig.reach(PAGE, { pasid: 2 })).toBe('59h SPT.2')
    expect(rig.reach(PAGE, { pasid: 3000 })).toBe('51h SPD.2')
  })

  it('tells translation requests of a pass-through as large a page as it has', () => {
    for (const [cap, sizeLog2] of [
      [{}, 30],
      [{ SSLPS: 1, FS1GP: 0 }, 21],
    ] as const) {
      const rig = new Rig({ cap })
      rig.plain(DEVICE, { PGTT: 4, AW: 2 })
      expect(rig.dma(0x1234, { kind: 'ats-request' })).toMatchObject({ ok: true, sizeLog2 })
    }
  })

  it('takes the PASID of requests without one from RID_PASID', () => {
    const rig = new Rig()
    const directory = rig.smContext(DEVICE, { RID_PASID: 9 })
    const { table, pasid } = rig.first()
    table.map(PAGE, OUT, 0x1000, RW)
    rig.pasid(directory, 9, pasid)
    expect(rig.reach(PAGE)).toBe(BigInt(OUT))
    expect(rig.reach(PAGE, { pasid: 9 })).toBe('48h SCT.9')
  })

  it('serves devices 16 to 31 of a bus by the upper context table', () => {
    const rig = new Rig()
    const { table, pasid } = rig.first()
    table.map(PAGE, OUT, 0x1000, RW)
    rig.plain(0x0080, pasid)
    expect(rig.reach(PAGE, { device: 0x0080 })).toBe(BigInt(OUT))
    expect(rig.reach(PAGE, { device: 0x0000 })).toBe('39h SRT.2')
  })

  it('lets supervisors in by SRE and WPE, and users by U/S', () => {
    const rig = new Rig()
    const directory = rig.smContext(DEVICE)
    const { table, pasid } = rig.first()
    table.map(PAGE, OUT, 0x1000, PR | PW)
    table.map(PAGE + 0x1000, OUT + 0x1000, 0x1000, UR | PR)
    rig.pasid(directory, 1, { ...pasid, SRE: 1, WPE: 1 })
    rig.pasid(directory, 2, { ...pasid, SRE: 1 })
    rig.pasid(directory, 3, pasid)
    const write = { access: 'write', privileged: true } as const
    expect(rig.reach(PAGE, { pasid: 1, ...write })).toBe(BigInt(OUT))
    expect(rig.reach(PAGE + 0x1000, { pasid: 1, ...write })).toBe('85h SGN.6')
    expect(rig.reach(PAGE + 0x1000, { pasid: 2, ...write })).toBe(BigInt(OUT + 0x1000))
    expect(rig.reach(PAGE, { pasid: 3, privileged: true })).toBe('5dh SPT.6')
    expect(rig.reach(PAGE, { pasid: 1 })).toBe('81h SGN.2')
    expect(rig.reach(PAGE + 0x1000, { pasid: 1 })).toBe(BigInt(OUT + 0x1000))
  })

  it('makes requests without PASID privileged by RID_PRIV, whatever they say', () => {
    const rig = new Rig()
    const { table, pasid } = rig.first()
    table.map(PAGE, OUT, 0x1000, PR | PW)
    rig.plain(DEVICE, { ...pasid, SRE: 1 }, { RID_PRIV: 1 })
    expect(rig.reach(PAGE)).toBe(BigInt(OUT))
    expect(rig.dma(PAGE, { kind: 'ats-request', access: 'write' })).toMatchObject({ rights: UR | UW })
    const plain = new Rig()
    const same = plain.first()
    same.table.map(PAGE, OUT, 0x1000, PR | PW)
    plain.plain(DEVICE, { ...same.pasid, SRE: 1 })
    expect(plain.reach(PAGE, { privileged: true })).toBe('81h SGN.2')
  })

  it('sets A on the way and D for writes in the first stage, and EA where EAFE is 1', () => {
    const rig = new Rig()
    const directory = rig.smContext(DEVICE)
    const { table, pasid, root } = rig.first()
    table.map(PAGE, OUT, 0x1000, RW)
    const { pa } = table.leaf(PAGE)!
    const clear = (at: number) => rig.memory.write64(at, rig.memory.read64(at) & ~BigInt(X86_A | X86_D | X86_EA))
    clear(pa)
    clear(root)
    rig.pasid(directory, 1, pasid)
    rig.pasid(directory, 2, { ...pasid, EAFE: 1 })
    const bits = (at: number) => Number(rig.memory.read64(at) & 0xfffn) & (X86_A | X86_D | X86_EA)
    expect(rig.dma(PAGE, { pasid: 1 }).ok).toBe(true)
    expect([bits(root), bits(pa)]).toEqual([X86_A, X86_A])
    // The translation is cached by now, as one that is not dirty
    expect(rig.dma(PAGE, { pasid: 1, access: 'write' })).toMatchObject({ ok: true, cached: false })
    expect(bits(pa)).toBe(X86_A | X86_D)
    expect(rig.dma(PAGE, { pasid: 1, access: 'write' })).toMatchObject({ ok: true, cached: true })
    expect(rig.dma(PAGE, { pasid: 2 }).ok).toBe(true)
    expect([bits(root), bits(pa)]).toEqual([X86_A | X86_EA, X86_A | X86_D | X86_EA])
  })

  it('sets A and D in the second stage where SSADE is 1 only', () => {
    for (const SSADE of [0, 1]) {
      const rig = new Rig()
      const { table, pasid } = rig.second()
      table.map(PAGE, OUT, 0x1000, RW)
      rig.plain(DEVICE, { ...pasid, SSADE })
      rig.dma(PAGE, { access: 'write' })
      const { pa } = table.leaf(PAGE)!
      expect(Number(rig.memory.read64(pa) & BigInt(SS_A | SS_D))).toBe(SSADE === 1 ? SS_A | SS_D : 0)
    }
  })

  it('sets D in the second stage of a nested one, also when the first stage has it already, and the translation is cached', () => {
    const rig = new Rig()
    const nested = rig.nested()
    nested.inner.table.map(PAGE, OUT, 0x1000, RW)
    rig.plain(DEVICE, { ...nested.pasid, SSADE: 1 })
    const { pa } = nested.outer.table.leaf(OUT)!
    const bits = () => Number(rig.memory.read64(pa) & BigInt(SS_A | SS_D))
    rig.dma(PAGE)
    expect(bits()).toBe(SS_A)
    rig.dma(PAGE, { access: 'write' })
    expect(bits()).toBe(SS_A | SS_D)
  })

  it('sets D for a translation request that asks to write, if it may', () => {
    const rig = new Rig()
    const { table, pasid } = rig.first()
    table.map(PAGE, OUT, 0x1000, RW)
    const { pa } = table.leaf(PAGE)!
    rig.memory.write64(pa, rig.memory.read64(pa) & ~BigInt(X86_D))
    rig.plain(DEVICE, pasid)
    const dirty = () => (rig.memory.read64(pa) & BigInt(X86_D)) !== 0n
    rig.dma(PAGE, { kind: 'ats-request' })
    expect(dirty()).toBe(false)
    rig.dma(PAGE, { kind: 'ats-request', access: 'write' })
    expect(dirty()).toBe(true)
  })

  it('grants supervisors their own rights in answers to translation requests', () => {
    const rig = new Rig()
    const directory = rig.smContext(DEVICE)
    const { table, pasid } = rig.first()
    table.map(PAGE, OUT, 0x1000, PR)
    rig.pasid(directory, 1, { ...pasid, SRE: 1, WPE: 1 })
    const ask = { pasid: 1, kind: 'ats-request', access: 'write' } as const
    expect(rig.dma(PAGE, { ...ask, privileged: true })).toMatchObject({ rights: PR })
    expect(rig.dma(PAGE, ask)).toMatchObject({ code: 0x81, response: 'no-access', record: null })
  })

  it('nests addresses of tables, and says where in the guest the second stage refused', () => {
    const rig = new Rig()
    const nested = rig.nested()
    nested.inner.table.map(PAGE, HOLE, 0x1000, RW)
    rig.plain(DEVICE, nested.pasid)
    expect(rig.dma(PAGE)).toMatchObject({ code: 0x79, stage: 2, ipa: BigInt(HOLE) })
  })
})

describe('the interrupt address range', () => {
  for (const mode of ['legacy', 'scalable'] as const) {
    it(`passes writes without PASID on as they are, and refuses reads (${mode})`, () => {
      const rig = new Rig({ mode })
      expect(rig.reach(0xfee0_1234, { access: 'write' })).toBe(0xfee0_1234n)
      expect(rig.reach(0xfeef_fffc)).toBe('29h 29h')
      expect(rig.faults()).toEqual([0x29])
    })
  }

  it('is reached by nobody through page tables, and not by requests with PASID', () => {
    const rig = new Rig()
    const directory = rig.smContext(DEVICE)
    const { table, pasid } = rig.first()
    table.map(PAGE, 0xfee0_0000, 0x1000, RW)
    table.map(0xfee0_0000, OUT, 0x1000, RW)
    rig.pasid(directory, 1, pasid)
    rig.pasid(directory, 2, { PGTT: 4, AW: 2 })
    expect(rig.reach(PAGE, { pasid: 1 })).toBe('87h SGN.8')
    expect(rig.reach(0xfee0_0000, { pasid: 1, access: 'write' })).toBe(BigInt(OUT))
    expect(rig.reach(0xfee0_0000, { pasid: 2, access: 'write' })).toBe('87h SGN.8')
    expect(rig.reach(0xfee0_0000, { kind: 'translated', access: 'write' })).toBe('87h SGN.8')
  })

  it('is not reached through a page that is cached, either', () => {
    const rig = new Rig()
    const { table, pasid } = rig.first()
    table.map(0x4000_0000, 0xc000_0000, 0x4000_0000, RW)
    rig.plain(DEVICE, pasid)
    expect(rig.reach(0x4000_0000)).toBe(0xc000_0000n)
    expect(rig.dma(0x4000_0000)).toMatchObject({ cached: true })
    expect(rig.reach(0x7ee0_0000)).toBe('87h SGN.8')
    expect(rig.reach(0x7ef0_0000)).toBe(0xfef0_0000n)
  })

  it('is answered to translation requests: write only, untranslated', () => {
    const rig = new Rig()
    rig.plain(DEVICE, rig.first().pasid)
    expect(rig.dma(0xfee0_0000, { kind: 'ats-request', access: 'write' })).toMatchObject({
      ok: true,
      rights: UW,
      pa: 0xfee0_0000n,
    })
    expect(rig.dma(0xfee0_0000, { kind: 'ats-request' })).toMatchObject({ ok: false, response: 'no-access', record: null })
  })

  it('lies in no page that a translation request is told', () => {
    const rig = new Rig()
    const { table, pasid } = rig.first()
    table.map(0xc000_0000, 0xc000_0000, 0x4000_0000, RW)
    rig.plain(DEVICE, pasid)
    expect(rig.reach(0xc000_0000)).toBe(0xc000_0000n)
    const asked = rig.dma(0xc000_0000, { kind: 'ats-request', access: 'write' })
    expect(asked).toMatchObject({ code: 0x87, response: 'completer-abort' })
  })
})

describe('while translation is off', () => {
  it('passes untranslated requests as they are, and no others', () => {
    const rig = new Rig({ start: false })
    expect(rig.dma(0xfee0_0000)).toMatchObject({ ok: true, pa: 0xfee0_0000n, rights: ALL_RIGHTS })
    for (const kind of ['ats-request', 'translated'] as const)
      expect(rig.dma(0x1000, { kind })).toMatchObject({ ok: false, response: 'unsupported-request', record: null })
    rig.command(GS_TE)
    expect(rig.reach(0x1000)).toBe('39h SRT.2')
    rig.uncommand(GS_TE)
    expect(rig.reach(0x1000)).toBe(0x1000n)
  })
})

describe('protected memory', () => {
  it('is out of reach for devices, by any way, and nothing is recorded', () => {
    const rig = new Rig({ mode: 'legacy' })
    const { table, legacy } = rig.second()
    table.map(PAGE, OUT, 0x1000, RW)
    table.map(PAGE + 0x1000, RAM.start, 0x1000, RW)
    rig.context(DEVICE, legacy)
    rig.set(REG.PLMBASE, OUT)
    rig.set(REG.PLMLIMIT, OUT)
    expect(rig.dma(PAGE).ok).toBe(true)
    rig.set(REG.PMEN, 0x8000_0000)
    expect(rig.get(REG.PMEN)).toBe(0x8000_0001)
    expect(rig.dma(PAGE)).toMatchObject({ ok: false, code: 0, record: null })
    expect(rig.dma(PAGE + 0x1000).ok).toBe(true)
    rig.set(REG.PMEN, 0)
    expect(rig.dma(PAGE).ok).toBe(true)
    rig.set8(REG.PHMBASE, BigInt(RAM.start))
    rig.set8(REG.PHMLIMIT, BigInt(RAM.start))
    rig.set(REG.PMEN, 0x8000_0000)
    expect(rig.dma(PAGE + 0x1000).ok).toBe(false)
  })
})

it('takes no source-id or PASID that no bus has', () => {
  const rig = new Rig()
  expect(() => rig.dma(0, { device: -1 })).toThrow('source-id')
  expect(() => rig.dma(0, { pasid: 1 << 20 })).toThrow('PASID')
})
