/** What each command does. Arm IHI 0070, chapter 4, in its order. */
import { getAddress, getNumber, type Layout } from '../../base/layout.ts'
import { checkCommand, invalidationRange } from '../../format/smmuv3/command-rules.ts'
import * as op from '../../format/smmuv3/commands.ts'
import type { SmmuFeatures } from '../../format/smmuv3/features.ts'
import type { DeviceMessage } from '../iommu.ts'
import type { Executor } from './commandq.ts'
import type { Configuration } from './config.ts'
import type { Stalled, Stalls } from './stall.ts'
import { REGIME_EL1, REGIME_EL2, REGIME_EL2_E2H, REGIME_STAGE2, type Tlb, type TlbScope } from './tlb.ts'

const EL1 = 1 << REGIME_EL1
const EL2 = 1 << REGIME_EL2
const EL2_E2H = 1 << REGIME_EL2_E2H
const STAGE2 = 1 << REGIME_STAGE2

/** No narrowing by address. */
const EVERYWHERE = { page: 0, pages: 0, granule: 0, level: 0 }

/** What commands act on. */
export interface CommandTarget {
  readonly config: Configuration
  readonly tlb: Tlb
  readonly stalls: Stalls
  /** CR0ACK.SMMUEN. */
  readonly enabled: boolean
  /** CR0ACK.VMW. */
  readonly vmidWildcard: number
  /** Whether devices listen: ATS and PRI commands are ignored where the rest of the system has neither. */
  readonly devices: boolean
  send(message: DeviceMessage): void
  newInvalidation(): number
  /** Configuration and translations for a prefetch; never records anything. */
  prefetch(device: number, pasid: number, address: bigint | null): void
}

export class Commands implements Executor {
  readonly #target: CommandTarget

  constructor(target: CommandTarget) {
    this.#target = target
  }

  legal(words: Int32Array): boolean {
    return checkCommand(words, 0, this.#target.config.features) === null
  }

  execute(words: Int32Array): void {
    const { features } = this.#target.config
    const opcode = words[0]! & 0xff
    if (opcode <= op.CMD_PREFETCH_ADDR) this.#prefetch(opcode, words)
    else if (opcode <= op.CMD_CFGI_VMS_PIDM) this.#configuration(opcode, words)
    else if (opcode <= op.CMD_TLBI_NSNH_ALL) this.#tlb(opcode, words, features)
    else if (opcode === op.CMD_ATC_INV) this.#atcInvalidate(words, features)
    else if (opcode === op.CMD_PRI_RESP) this.#pageResponse(words, features)
    else if (opcode === op.CMD_RESUME) this.#resume(words, features)
    else this.#stallTerminate(words)
  }

  // 4.2: never records anything; translations of at most 64 strides.
  #prefetch(opcode: number, words: Int32Array): void {
    const target = this.#target
    if (!target.enabled) return
    const device = field(words, op.PREFETCH_CONFIG, 'StreamID')
    const pasid = substream(words, op.PREFETCH_CONFIG, target.config.features)
    if (opcode === op.CMD_PREFETCH_CONFIG) target.prefetch(device, pasid, null)
    else {
      const strides = Math.min(2 ** field(words, op.PREFETCH_ADDR, 'Size'), 64)
      const stride = 1n << BigInt(12 + field(words, op.PREFETCH_ADDR, 'Stride'))
      const first = BigInt(getAddress(words, op.PREFETCH_ADDR.fields.Address))
      for (let each = 0; each < strides; each++) target.prefetch(device, pasid, BigInt.asUintN(64, first + BigInt(each) * stride))
    }
  }

  // 4.3. There is nothing to do for CMD_CFGI_VMS_PIDM: virtual machine structures are not cached.
  #configuration(opcode: number, words: Int32Array): void {
    const { config } = this.#target
    const device = field(words, op.CFGI_STE, 'StreamID')
    const leaf = field(words, op.CFGI_STE, 'Leaf') === 1
    switch (opcode) {
      case op.CMD_CFGI_STE:
        config.invalidateStreams(device, device, leaf)
        break
      case op.CMD_CFGI_STE_RANGE: {
        const count = 2 ** (field(words, op.CFGI_STE_RANGE, 'Range') + 1)
        const first = Math.floor(device / count) * count
        config.invalidateStreams(first, first + count - 1, false)
        break
      }
      case op.CMD_CFGI_CD:
        config.invalidateContexts(device, field(words, op.CFGI_CD, 'SubstreamID'), leaf)
        break
      case op.CMD_CFGI_CD_ALL:
        config.invalidateContexts(device, -1, false)
        break
    }
  }

  // 4.4
  #tlb(opcode: number, words: Int32Array, features: SmmuFeatures): void {
    const { tlb, vmidWildcard } = this.#target
    // 4.4.2: without stage 2 there are no VMIDs.
    const vmid = features.s2 ? field(words, op.TLBI_NH_ASID, 'VMID') : -1
    const vmidIgnored = vmidWildcard >= 1 && vmidWildcard <= 4 ? (1 << vmidWildcard) - 1 : 0
    const asid = field(words, op.TLBI_NH_ASID, 'ASID')
    const invalidate = (scope: Partial<TlbScope> & { regimes: number }) => {
      tlb.invalidate({ vmid: -1, asid: -1, globals: true, vmidIgnored, ...EVERYWHERE, ...scope })
    }
    const inRange = (scope: Partial<TlbScope> & { regimes: number }) => invalidate({ ...scope, ...rangeOf(words, features) })
    // 4.4.2.8: CR2.E2H says which of the two EL2 regimes is meant; EL2 has no ASIDs.
    const el2 = features.e2h ? EL2_E2H : EL2
    switch (opcode) {
      case op.CMD_TLBI_NSNH_ALL:
        invalidate({ regimes: EL1 | STAGE2 })
        break
      case op.CMD_TLBI_S12_VMALL:
        invalidate({ regimes: EL1 | STAGE2, vmid })
        break
      case op.CMD_TLBI_S2_IPA:
        // Entries of both stages stay (4.4.3.1): software invalidates stage 1 too.
        inRange({ regimes: STAGE2, vmid })
        break
      case op.CMD_TLBI_NH_ALL:
        invalidate({ regimes: EL1, vmid })
        break
      case op.CMD_TLBI_NH_ASID:
        invalidate({ regimes: EL1, vmid, asid, globals: false })
        break
      case op.CMD_TLBI_NH_VAA:
        inRange({ regimes: EL1, vmid })
        break
      case op.CMD_TLBI_NH_VA:
        inRange({ regimes: EL1, vmid, asid })
        break
      case op.CMD_TLBI_EL2_ALL:
        invalidate({ regimes: EL2 | EL2_E2H })
        break
      case op.CMD_TLBI_EL2_VA:
        inRange({ regimes: el2, asid: features.e2h ? asid : -1 })
        break
      case op.CMD_TLBI_EL2_VAA:
        inRange({ regimes: el2 })
        break
      case op.CMD_TLBI_EL2_ASID:
        invalidate({ regimes: EL2_E2H, asid, globals: false })
        break
    }
  }

  // 4.5.1
  #atcInvalidate(words: Int32Array, features: SmmuFeatures): void {
    const target = this.#target
    const size = field(words, op.ATC_INV, 'Size')
    if (!target.enabled || !target.devices) return
    const device = field(words, op.ATC_INV, 'StreamID')
    const pasid = substream(words, op.ATC_INV, features)
    const bytes = 4096n << BigInt(size)
    const address = BigInt(getAddress(words, op.ATC_INV.fields.Address))
    target.send({
      kind: 'invalidate',
      device,
      pasid: pasid < 0 ? null : pasid,
      address: size === op.ATC_INV_SIZE_ALL ? 0n : address - (address % bytes),
      bytes: size === op.ATC_INV_SIZE_ALL ? null : bytes,
      tag: target.newInvalidation(),
    })
  }

  // 4.5.2
  #pageResponse(words: Int32Array, features: SmmuFeatures): void {
    const target = this.#target
    const response = field(words, op.PRI_RESP, 'Resp')
    if (!target.enabled || !target.devices) return
    const pasid = substream(words, op.PRI_RESP, features)
    target.send({
      kind: 'page-response',
      device: field(words, op.PRI_RESP, 'StreamID'),
      pasid: pasid < 0 ? null : pasid,
      group: field(words, op.PRI_RESP, 'PRGIndex'),
      code: (['failure', 'invalid', 'success'] as const)[response]!,
    })
  }

  // 4.7.1
  #resume(words: Int32Array, features: SmmuFeatures): void {
    const { stalls } = this.#target
    const stalled = stalls.find(field(words, op.RESUME, 'StreamID'), field(words, op.RESUME, 'STAG'))
    // A tag that is not (or no longer) held, or of another stream, has no effect.
    if (stalled === null) return
    const aborts = field(words, op.RESUME, 'Ab') === 1 || features.abortOnly
    const retries = field(words, op.RESUME, 'Ac') === 1
    this.#end([stalled], retries ? 'retry' : aborts ? 'abort' : 'terminate')
  }

  // 4.7.2
  #stallTerminate(words: Int32Array): void {
    this.#end(this.#target.stalls.of(field(words, op.STALL_TERM, 'StreamID')), 'abort')
  }

  #end(ended: readonly Stalled[], action: 'retry' | 'abort' | 'terminate'): void {
    const target = this.#target
    for (const stalled of ended) target.stalls.release(stalled)
    for (const stalled of ended) target.send({ kind: 'resume', device: stalled.device, stallTag: stalled.ticket, action })
  }
}

function field(words: Int32Array, layout: Layout, name: string): number {
  return getNumber(words, layout.fields[name]!)
}

/** The SubstreamID of a command, -1 without; an SMMU without substreams takes SSV as 0 (4.5.1). */
function substream(words: Int32Array, layout: Layout, features: SmmuFeatures): number {
  return features.ssidBits > 0 && field(words, layout, 'SSV') === 1 ? field(words, layout, 'SubstreamID') : -1
}

/** The addresses of a TLBI command, its granule and its level (4.4.1.1). */
function rangeOf(words: Int32Array, features: SmmuFeatures): Pick<TlbScope, 'page' | 'pages' | 'granule' | 'level'> {
  const page = getAddress(words, op.TLBI_NH_VA.fields.Address) / 4096
  const range = invalidationRange(words, 0, features)
  if (range === null) return { page, pages: 1, granule: 0, level: 0 }
  const { granule, number, scale, level } = range
  // A SCALE above 39 counts as 39.
  return { page, pages: (number + 1) * 2 ** Math.min(scale, 39) * 4 ** (granule - 1), granule, level }
}
