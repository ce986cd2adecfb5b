/**
 * Stream table entries and PASID table entries of live devices: written hitlessly where the hardware lets it, with CMD_CFGI_… and
 * CMD_SYNC between the steps. Arm IHI 0070, 3.21.3, 4.3.
 */
import type { PageAllocator, WordMemory } from '../../base/memory.ts'
import { type Op, step } from '../../base/op.ts'
import { CD_WORDS } from '../../format/smmuv3/cd.ts'
import type { SmmuFeatures } from '../../format/smmuv3/features.ts'
import { S1DSS_BYPASS, S1DSS_SSID0, S1DSS_TERMINATE, STE_WORDS } from '../../format/smmuv3/ste.ts'
import { CdTable, type CdTableForm } from './cd-table.ts'
import type { CommandQueue } from './command-queue.ts'
import { cfgiCd, cfgiCdAll, cfgiSte } from './commands.ts'
import { abortSte, bypassSte, cdTableSte, nestedSte, type StreamChoices, stage2Ste } from './entries.ts'
import { type EntryKind, planUpdate } from './hitless.ts'
import type { DeviceState, DomainState } from './state.ts'
import { CD_ENTRY, STE_ENTRY } from './used-bits.ts'
import { loadWords, storeWord, storeWords } from './words.ts'

export class Configuration {
  readonly #memory: WordMemory
  readonly #pages: PageAllocator
  readonly #commands: CommandQueue
  readonly #features: SmmuFeatures
  readonly #form: CdTableForm | 'auto'

  constructor(memory: WordMemory & PageAllocator, commands: CommandQueue, features: SmmuFeatures, form: CdTableForm | 'auto') {
    this.#memory = memory
    this.#pages = memory
    this.#commands = commands
    this.#features = features
    this.#form = form
  }

  /** The STE that a device has in a domain. @throws IommError when a guest's STE is not one that it may have. */
  steFor(state: DeviceState, domain: DomainState | null, guest = state.guest): Uint32Array {
    const features = this.#features
    if (domain === null) return abortSte()
    const { ats, pri, responseNeedsPasid } = state.device.capabilities
    const stream: StreamChoices = { ats: ats && features.ats, stall: domain.stall, ppar: pri && responseNeedsPasid }
    const { stage2, table } = domain
    if (stage2 !== null) {
      const { space } = stage2.pgtable
      return guest === null
        ? stage2Ste(space, stage2.vmid, stream, features)
        : nestedSte(guest, space, stage2.vmid, stream, features)
    }
    if (table !== null && domain.own !== null) return cdTableSte(table, S1DSS_SSID0, stream, features)
    const identity = domain.domain.kind === 'identity'
    // Without PASIDs in use, a plain entry says the same, and refuses all PASIDs.
    if (table === null || domain.entries.size === 0) return identity ? bypassSte(features) : abortSte()
    return cdTableSte(table, identity ? S1DSS_BYPASS : S1DSS_TERMINATE, stream, features)
  }

  /** Makes this the device's STE. */
  writeSte(state: DeviceState, target: Uint32Array): Op<void> {
    const { id } = state.device
    return this.#write(state.ste, STE_WORDS, target, STE_ENTRY, () => [cfgiSte(id)])
  }

  /** Makes this the domain's PASID table entry; all zero clears it. The table exists. */
  *writeCd(domain: DomainState, pasid: number, target: Uint32Array): Op<void> {
    const { cd, newLeaf } = domain.table!.make(pasid)
    const each = (command: (sid: number) => Uint32Array) => [...domain.devices].map(({ device }) => command(device.id))
    // A first-level descriptor that was not valid may be cached as such (3.21.3), for any of the PASIDs that it covers.
    if (newLeaf) yield* this.#invalidate('CD leaf installed', each(cfgiCdAll))
    yield* this.#write(cd, CD_WORDS, target, CD_ENTRY, () => each((sid) => cfgiCd(sid, pasid)))
  }

  /** Makes sure that the domain has a PASID table for PASIDs of so many bits. A table that is too small is replaced, hitlessly. */
  *ensureTable(domain: DomainState, bits: number): Op<void> {
    const old = domain.table
    if (old !== null && old.bits >= bits) return
    const table = new CdTable(this.#memory, this.#pages, bits, this.#formFor(bits))
    if (old !== null) {
      for (const pasid of [0, ...domain.entries.keys()]) {
        const from = old.find(pasid)
        if (from !== null) storeWords(this.#memory, table.make(pasid).cd, loadWords(this.#memory, from, CD_WORDS))
      }
      yield* step('PASID table copied')
    }
    domain.table = table
    if (old === null) return
    // Pointer, form and size are in one 64-bit word of the STE.
    for (const state of domain.devices) yield* this.writeSte(state, this.steFor(state, domain))
    old.free()
  }

  #formFor(bits: number): CdTableForm {
    if (this.#form !== 'auto') return this.#form
    return this.#features.cd2l && bits > 10 ? '2lvl-64k' : 'linear'
  }

  *#write(pa: number, count: number, target: Uint32Array, kind: EntryKind, invalidate: () => Uint32Array[]): Op<void> {
    const plan = planUpdate(loadWords(this.#memory, pa, count), target, kind)
    for (const stores of plan.steps) {
      for (const store of stores) {
        storeWord(this.#memory, pa, store)
        yield* step('descriptor word written')
      }
      yield* this.#invalidate('descriptor written', invalidate())
    }
  }

  *#invalidate(what: string, commands: Uint32Array[]): Op<void> {
    // No device, no stream table entry that leads here: nothing can be cached.
    if (commands.length === 0) yield* step(what)
    else yield* this.#commands.issueAndSync(commands)
  }
}
