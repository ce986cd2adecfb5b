/**
 * PRI queue: page requests of PCIe devices, for software. Arm IHI 0070, chapter 8: when it takes none, the SMMU answers by itself.
 */
import { encode, maskIn } from '../../base/layout.ts'
import type { WordMemory } from '../../base/memory.ts'
import { PRI, PRI_BYTES } from '../../format/smmuv3/pri.ts'
import { PRIQ_IRQ_CFG2 } from '../../format/smmuv3/registers.ts'
import type { DeviceMessage, PageRequestMessage } from '../iommu.ts'
import { OutputQueue } from './eventq.ts'
import { type Interrupts, PRIQ_ABT_ERR } from './interrupts.ts'
import { AT, PRIQEN, type RegisterFile, SMMUEN } from './registers.ts'

/** Interrupt for each message that ends a group, instead of when the queue is no longer empty. */
const LAST_ONLY = maskIn(PRIQ_IRQ_CFG2.fields.LO, 0)

export interface PriPolicy {
  /** Whether the SMMU has substreams. */
  readonly pasids: boolean
  /** Whether an automatic response to this stream carries the PASID (IDR3.PPS, STE.PPAR); null when its STE cannot be read. */
  carriesPasid(device: number): boolean | null
}

export class PriQueue {
  readonly queue: OutputQueue
  policy: PriPolicy = { pasids: false, carriesPasid: () => null }
  readonly #registers: RegisterFile
  readonly #interrupts: Interrupts
  readonly #send: (message: DeviceMessage) => void

  constructor(memory: WordMemory, registers: RegisterFile, interrupts: Interrupts, send: (message: DeviceMessage) => void) {
    this.queue = new OutputQueue(memory, registers, AT.PRIQ_BASE, AT.PRIQ_PROD, AT.PRIQ_CONS, PRI_BYTES)
    this.#registers = registers
    this.#interrupts = interrupts
    this.#send = send
  }

  /** A page request arrives. */
  receive(given: PageRequestMessage): void {
    const request = this.policy.pasids ? given : { ...given, pasid: null }
    // 8: a Stop Marker has a PASID; without one, the same bits are a request.
    const stopMarker = request.pasid !== null && request.last && !request.read && !request.write
    const wanted = PRIQEN | SMMUEN
    if ((this.#registers.get(AT.CR0ACK) & wanted) !== wanted || this.#interrupts.active(PRIQ_ABT_ERR)) {
      // 8.2: every request gets a failure, without PASID.
      if (!stopMarker) this.#respond(request, null, 'failure')
      return
    }
    if (this.queue.full && !this.queue.overflowed) this.queue.overflow()
    if (this.queue.overflowed) this.#overflow(request, stopMarker)
    else this.#write(request, stopMarker)
  }

  #write(request: PageRequestMessage, stopMarker: boolean): void {
    const written = this.queue.write(priEntry(request))
    if (written === 'abort') {
      this.#interrupts.activate(PRIQ_ABT_ERR)
      if (!stopMarker) this.#respond(request, null, 'failure')
      return
    }
    if (this.#lastOnly ? request.last : written === 'first') this.#interrupts.raise('priq')
  }

  /** 8.1: the request is lost; a group that ends here is answered, so that the device asks again. */
  #overflow(request: PageRequestMessage, stopMarker: boolean): void {
    if (this.#lastOnly && request.last) this.#interrupts.raise('priq')
    if (!request.last || stopMarker) return
    const carries = request.pasid === null ? false : this.policy.carriesPasid(request.device)
    this.#respond(request, carries === true ? request.pasid : null, carries === null ? 'failure' : 'success')
  }

  get #lastOnly(): boolean {
    return (this.#registers.get(AT.PRIQ_IRQ_CFG0 + 12) & LAST_ONLY) !== 0
  }

  #respond(request: PageRequestMessage, pasid: number | null, code: 'success' | 'failure'): void {
    this.#send({ kind: 'page-response', device: request.device, pasid, group: request.group, code })
  }
}

/** The entry as it lies in the queue. X and Priv come with a PASID only. */
function priEntry(request: PageRequestMessage): Uint32Array {
  const withPasid = request.pasid !== null
  return encode(PRI, {
    StreamID: request.device,
    SubstreamID: request.pasid ?? 0,
    SSV: withPasid ? 1 : 0,
    Priv: withPasid && request.privileged ? 1 : 0,
    X: withPasid && request.execute ? 1 : 0,
    R: request.read ? 1 : 0,
    W: request.write ? 1 : 0,
    Last: request.last ? 1 : 0,
    PRGIndex: request.group & 0x1ff,
    Address: BigInt.asUintN(64, request.address) & ~0xfffn,
  })
}
