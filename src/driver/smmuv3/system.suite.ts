/** The driver over the SMMUv3 model. */
import { AD_FAULT, AD_SET, ptSpace } from '../../format/pt/format.ts'
import { newRoot } from '../../format/pt/mapper.ts'
import { vmsav8 } from '../../format/pt/vmsav8.ts'
import { type SmmuOptions, SmmuV3 } from '../../model/smmuv3/smmu.ts'
import { TestSystem, testMemory } from '../common/system.suite.ts'
import { SmmuV3Driver, type SmmuV3DriverOptions } from './driver.ts'

export { RW, TestDevice, TestProcess } from '../common/system.suite.ts'

export class System extends TestSystem<SmmuV3, SmmuV3Driver> {
  constructor(options: SmmuV3DriverOptions = {}, hardware: SmmuOptions = {}) {
    const memory = testMemory()
    const model = new SmmuV3(memory, { deferred: true, negativeCaching: true, ...hardware })
    super({
      memory,
      model,
      driver: new SmmuV3Driver(model, memory, options),
      processSpace(hardwareUpdates) {
        const shape = { format: vmsav8(12, 'el1'), topDepth: 3, inputBits: 48 }
        const updates = hardwareUpdates ? AD_SET : AD_FAULT
        // Not global: entries belong to the ASID.
        const rest = { root: newRoot(memory, shape), outputLimit: 2 ** 48, attributesLo: 1 << 11, accessed: updates }
        return ptSpace({ ...shape, ...rest, dirty: hardwareUpdates ? AD_SET : 0 })
      },
    })
  }
}
