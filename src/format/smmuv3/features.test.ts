import { describe, expect, it } from 'vitest'
import { encode } from '../../base/layout.ts'
import { addressBits, featuresFromIdr, GENEROUS_IDR, granuleSupported, intermediateBits } from './features.ts'
import { IDR0, IDR5 } from './registers.ts'

const read = (registers: Record<string, number>) => (name: string) => registers[name] ?? 0

describe('features', () => {
  // As a machine shows them: an emulated SMMU under Linux.
  it('reads the registers of an SMMU as they are', () => {
    const features = featuresFromIdr(read({ IDR0: 0x0d44_101b, IDR1: 0x0273_0010, IDR3: 0x1414, IDR5: 0x74, AIDR: 1 }))
    expect(features).toMatchObject({
      s1: true,
      s2: true,
      aarch32: false,
      aarch64: true,
      coherent: true,
      btm: false,
      httu: 0,
      hyp: false,
      ats: false,
      asid16: true,
      vmid16: true,
      cd2l: false,
      endian: 2,
      stallModel: 1,
      abortOnly: true,
      stream2l: true,
      sidBits: 16,
      ssidBits: 0,
      cmdqLog2: 19,
      eventqLog2: 19,
      had: true,
      xnx: true,
      stt: false,
      ril: true,
      bbml: 2,
      oas: 44,
      gran4k: true,
      gran16k: true,
      gran64k: true,
      vaBits: 48,
      minor: 1,
      e2h: false,
    })
  })
  it('knows the address sizes of each revision', () => {
    expect([0, 1, 2, 3, 4, 5, 6, 7].map((code) => addressBits(code, 0))).toEqual([32, 36, 40, 42, 44, 48, 48, 48])
    expect([addressBits(6, 1), addressBits(7, 3), addressBits(7, 4)]).toEqual([52, 52, 56])
  })
  it('takes 40 bits of intermediate address where AArch32 tables are supported', () => {
    const of = (TTF: number) => featuresFromIdr(read({ IDR0: encode(IDR0, { TTF })[0]!, IDR5: encode(IDR5, { OAS: 1 })[0]! }))
    expect([intermediateBits(of(2)), intermediateBits(of(3))]).toEqual([36, 40])
  })
  it('cuts sizes that no SMMU can have', () => {
    const features = featuresFromIdr(read({ IDR1: 0xffff_ffff }))
    expect([features.sidBits, features.ssidBits]).toEqual([32, 20])
  })
  it('has everything in the generous registers', () => {
    const features = featuresFromIdr(read(GENEROUS_IDR))
    expect(features).toMatchObject({
      s1: true,
      s2: true,
      ssidBits: 20,
      sidBits: 32,
      oas: 52,
      vaBits: 52,
      ds: true,
      httu: 2,
      minor: 2,
    })
    expect([12, 14, 16, null].map((granule) => granuleSupported(features, granule))).toEqual([true, true, true, false])
  })
})
