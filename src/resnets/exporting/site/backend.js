/* Who answers: here the visitor's own browser. The same interface as the service's backend.js. */

export { connect } from "./local.js";
