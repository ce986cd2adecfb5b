/** Each step of a translation in words: what was read, where, and what follows from it. It sees what the translator sees. */
import type { TranslationStep } from '../../base/explain.ts'
import { hex, size } from '../../base/hex.ts'
import { getAddress, getNumber, type Layout, type Words } from '../../base/layout.ts'
import type { WordMemory } from '../../base/memory.ts'
import type { PtSpace } from '../../format/pt/format.ts'
import { WALK_OK, type Walker, type WalkObserver } from '../../format/pt/walker.ts'
import { CD } from '../../format/smmuv3/cd.ts'
import { noStage1 } from '../../format/smmuv3/context.ts'
import { C_BAD_CD, C_BAD_STE, C_BAD_STREAMID, C_BAD_SUBSTREAMID } from '../../format/smmuv3/events.ts'
import { L1_WORDS, L1CD, L1STD } from '../../format/smmuv3/l1.ts'
import { cdTableSplit, type Found, LOOKUP_OK } from '../../format/smmuv3/lookup.ts'
import { CR0, GBPA } from '../../format/smmuv3/registers.ts'
import { S1DSS_BYPASS, S1DSS_SSID0, STE } from '../../format/smmuv3/ste.ts'
import { entryStep, leadsTo, noteStep, rightsOf, structureStep } from '../common/explain.ts'
import type { ConfigObserver, Configuration, Context, Stream } from './config.ts'
import { AT, type RegisterFile, SMMUEN } from './registers.ts'
import { entryText } from './why.ts'

export class Explainer implements ConfigObserver, WalkObserver {
  steps: TranslationStep[] = []
  /** The walker that it observes. */
  walker: Walker | null = null
  readonly #memory: WordMemory
  readonly #config: Configuration

  constructor(memory: WordMemory, config: Configuration) {
    this.#memory = memory
    this.#config = config
  }

  /** The registers that decide before any table does. */
  registers(registers: RegisterFile): void {
    const cr0 = registers.get(AT.CR0ACK)
    if ((cr0 & SMMUEN) !== 0) return
    this.#structure('CR0', CR0, null, Uint32Array.of(cr0), 'SMMUEN is 0: no tables are read, GBPA decides')
    const gbpa = Uint32Array.of(registers.get(AT.GBPA))
    const aborts = getNumber(gbpa, GBPA.fields.ABORT) === 1
    this.#structure(
      'GBPA',
      GBPA,
      null,
      gbpa,
      aborts ? 'ABORT is 1: everything is aborted' : 'ABORT is 0: everything passes as it is',
    )
  }

  stream(stream: Stream, found: Found): void {
    const { status, why, address } = stream
    if (found.l1Index >= 0) {
      const words = this.#read(found.l1Index, L1_WORDS)
      const entries = 2 ** (getNumber(words, L1STD.fields.Span) - 1)
      const table = `second level at ${hex(getAddress(words, L1STD.fields.L2Ptr))}, ${entries} entries`
      this.#structure('L1STD', L1STD, found.at[1]!, words, status === C_BAD_STREAMID ? why : table)
      if (status === C_BAD_STREAMID) return
    }
    if (status === LOOKUP_OK) this.#structure('STE', STE, address, stream.words, this.#streamText(stream))
    else if (status === C_BAD_STE) this.#structure('STE', STE, address, stream.words, `bad: ${why}`)
    else this.#nothing(address >= 0 && address === found.at[1] ? 'L1STD' : 'STE', address, why)
  }

  context(context: Context, found: Found): void {
    const { status, why, address } = context
    if (found.l1Index >= 0) {
      const words = this.#read(found.l1Index, L1_WORDS)
      const entries = 2 ** cdTableSplit(context.stream.words, 0, this.#config.features)
      const table = `second level at ${hex(getAddress(words, L1CD.fields.L2Ptr))}, ${entries} entries`
      this.#structure('L1CD', L1CD, found.at[1]!, words, status === C_BAD_SUBSTREAMID ? why : table)
      if (status === C_BAD_SUBSTREAMID) return
    }
    if (status === LOOKUP_OK) this.#structure('CD', CD, address, context.words, this.#contextText(context))
    else if (status === C_BAD_CD) this.#structure('CD', CD, address, context.words, `bad: ${why}`)
    else this.#nothing(address === found.at[1] && found.l1Index < 0 ? 'L1CD' : 'CD', address, why)
  }

  entry(stage: number, space: PtSpace, depth: number, pa: number, hi: number, lo: number, kind: number, status: number): void {
    const rights = rightsOf(this.walker, stage)
    const leaf = depth === 0 ? 'page' : 'block'
    const decided =
      status === WALK_OK
        ? leadsTo(space, depth, hi, lo, kind, rights, 'intermediate', leaf)
        : entryText(space, depth, status, lo, rights)
    this.steps.push(entryStep(stage === 2 ? 2 : 1, space, depth, pa, hi, lo, kind, decided))
  }

  #streamText(stream: Stream): string {
    const { words, config } = stream
    if ((config & 4) === 0) return 'valid, aborts everything silently'
    if (config === 4) return 'valid, bypass: addresses pass as they are'
    const parts = ['valid']
    if ((config & 1) !== 0) {
      const table = hex(getAddress(words, STE.fields.S1ContextPtr))
      parts.push(
        stream.cdCount === 0 ? `stage 1, CD at ${table}` : `stage 1, CD table at ${table} for ${stream.cdCount} SubstreamIDs`,
      )
      const dss = getNumber(words, STE.fields.S1DSS)
      if (stream.cdCount > 0)
        parts.push(`without SubstreamID ${dss === S1DSS_SSID0 ? 'CD 0' : dss === S1DSS_BYPASS ? 'bypass of stage 1' : 'abort'}`)
    }
    if (stream.stage2 !== null) parts.push(`stage 2, VMID ${stream.vmidTag >>> 16}, table at ${hex(stream.stage2.root)}`)
    return parts.join(', ')
  }

  #contextText(context: Context): string {
    const { words, stream } = context
    const half = (space: PtSpace | null, which: 0 | 1) =>
      space === null
        ? `TTB${which} off: ${noStage1(words, 0, stream.words, 0, this.#config.features, which)}`
        : `TTB${which} at ${hex(space.root)}, ${space.inputBits} bits, ${size(2 ** space.format.granuleLog2)} granule`
    return `valid, ASID ${getNumber(words, CD.fields.ASID)}, ${half(context.low, 0)}, ${half(context.high, 1)}`
  }

  #read(index: number, count: number): Uint32Array {
    return Uint32Array.from(this.#memory.words.subarray(index, index + count))
  }

  #structure(structure: string, layout: Layout, address: number | null, words: Words, decided: string): void {
    this.steps.push(structureStep(structure, layout, address, words, decided))
  }

  #nothing(structure: string, address: number, decided: string): void {
    this.steps.push(noteStep(structure, decided, address))
  }
}
