/** The SMMU's registers by name. Offsets and fields: `format/smmuv3/registers.ts`. */
import { type Op, waitFor } from '../../base/op.ts'
import type { Mmio } from '../../core/driver.ts'
import { registerNamed } from '../../format/smmuv3/registers.ts'
import { NamedRegisters } from '../common/registers.ts'

export class Registers extends NamedRegisters {
  constructor(mmio: Mmio) {
    super(mmio, registerNamed)
  }

  /** Writes a register that the hardware acknowledges in another, and waits for it (6.3.9 CR0, 6.3.16 IRQ_CTRL). */
  *setAcknowledged(name: 'CR0' | 'IRQ_CTRL', value: number): Op<void> {
    const acknowledge = name === 'CR0' ? 'CR0ACK' : 'IRQ_CTRLACK'
    this.write(name, value)
    yield* waitFor(`SMMU_${acknowledge}`, () => this.read(acknowledge) === value)
  }
}
