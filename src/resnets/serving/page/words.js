/* What the page says, in two languages, and the one place where it is said. */

/* {name} is a value, {name%} a fraction told in percent. */
const WORDS = {
  en: {
    title: "What is in the picture?",
    classes: "This model tells apart {names}.",
    "classes-more": "This model tells apart {names} and {more} more.",
    ways: "Drop pictures here, paste them, or",
    choose: "Choose pictures",
    photograph: "Take a photo",
    here: "Your pictures stay on this device.",
    offline: "Your pictures stay on this device. The page now works without a network, too.",
    there: "Your pictures are sent to {host} to be classified.",
    connecting: "Asking for the model …",
    loading: "Loading the model: {done} of {size} MB",
    compiling: "Preparing the model …",
    answers: "Answers",
    clear: "Clear",
    waiting: "Waiting …",
    looking: "Looking …",
    busy: "The service is busy. Trying again in {seconds} s.",
    answered: "{file}: {label}, {probability%}",
    "answered-unsure": "{file}: unsure, perhaps {label}, {probability%}",
    failed: "{file}: {problem}",
    sure: "{probability%}",
    count: "{n}",
    unsure: "Unsure: the model gives its best answer only {probability%}. Under {threshold%} do not rely on it.",
    perhaps: "perhaps",
    "unseen-picture": "This browser cannot show this picture.",
    again: "Try again",
    evidence: "Show where the evidence lies",
    finding: "Looking for the evidence …",
    "no-evidence": "The evidence cannot be shown. {problem}",
    "evidence-for": "Evidence for",
    strength: "Heatmap",
    "map-of": "Heatmap of the evidence for {label}",
    faithful:
      "With these places covered first, {label} keeps {deletion%} on average; with these shown first, it reaches {insertion%}.",
    model: "The model",
    right: "right on {split}",
    "right-more": "{low%} to {high%} (95 % interval)",
    images: "images of {split}",
    "images-more": "of {data}",
    network: "network",
    "network-more": "reads {width} × {height} pixels",
    threshold: "threshold",
    "threshold-more": "under it, an answer is called unsure",
    "class-names": "Classes ({count})",
    more: "and {more} more",
    preprocessing: "Preprocessing",
    resized: "{interpolation} to {width} × {height} pixels, {crop}",
    "crop-center": "its shape kept, the middle {share}% of the shorter side",
    "crop-squash": "its shape not kept, the middle {share}%",
    grey: "in grey",
    normalised: "mean {mean}, standard deviation {std}",
    "mean-image": "less the mean image",
    background: "transparent parts lie over {colour}",
    temperature: "Temperature",
    "not-calibrated": "1, not calibrated",
    fingerprint: "SHA-256",
    report: "The report of its training",
    "token-title": "This service asks for a token",
    "token-wrong": "The token was not accepted",
    "token-why": "Whoever started it can tell you.",
    token: "Token",
    "go-on": "Go on",
    "no-token": "This service answers those who have its token. Load the page again to give it.",
    "no-picture": "It is no picture. Give a JPEG, PNG, WebP, GIF or BMP file.",
    unreadable: "The file cannot be read. Choose it once more.",
    undecodable: "This browser cannot decode it. Give a JPEG, PNG, WebP, GIF or BMP file.",
    "too-large": "It has {pixels} million pixels; {most} million are the most. Make it smaller.",
    unreachable: "{host} cannot be reached. Look whether the service runs.",
    "too-busy": "The service stays busy. Wait a little.",
    told: "Refused: {problem}. To mend it, {fix}.",
    status: "The service answers with status {status}.",
    damaged: "{file} is not the one that was exported. Load the page again.",
    missing: "{file} cannot be loaded. Look whether the site is whole.",
    crashed: "The model cannot run here: {reason}",
  },
  zh: {
    title: "图片里是什么？",
    classes: "这个模型能区分 {names}。",
    "classes-more": "这个模型能区分 {names} 等，另有 {more} 类。",
    ways: "把图片拖到这里、粘贴，或者",
    choose: "选择图片",
    photograph: "拍照",
    here: "图片不会离开您的设备。",
    offline: "图片不会离开您的设备。现在断网也能使用本页。",
    there: "图片将发送到 {host} 进行分类。",
    connecting: "正在获取模型…",
    loading: "正在加载模型：{done} / {size} MB",
    compiling: "正在准备模型…",
    answers: "结果",
    clear: "清空",
    waiting: "等待中…",
    looking: "识别中…",
    busy: "服务繁忙，{seconds} 秒后重试。",
    answered: "{file}：{label}，{probability%}",
    "answered-unsure": "{file}：不确定，可能是{label}，{probability%}",
    failed: "{file}：{problem}",
    sure: "{probability%}",
    count: "{n}",
    unsure: "不确定：最可能的答案只有 {probability%}；低于 {threshold%} 的答案不可靠。",
    perhaps: "可能是",
    "unseen-picture": "浏览器无法显示这张图片。",
    again: "重试",
    evidence: "显示判断依据的位置",
    finding: "正在寻找依据…",
    "no-evidence": "无法显示依据。{problem}",
    "evidence-for": "依据支持",
    strength: "热力图",
    "map-of": "支持“{label}”的依据热力图",
    faithful:
      "先遮住这些位置，“{label}”的平均概率为 {deletion%}；先只显示这些位置，则为 {insertion%}。",
    model: "模型",
    right: "{split} 上的准确率",
    "right-more": "95% 置信区间 {low%} 至 {high%}",
    images: "张 {split} 图片",
    "images-more": "来自 {data}",
    network: "网络",
    "network-more": "输入 {width} × {height} 像素",
    threshold: "阈值",
    "threshold-more": "低于它的答案称为不确定",
    "class-names": "类别（{count}）",
    more: "另有 {more} 类",
    preprocessing: "预处理",
    resized: "{interpolation} 缩放至 {width} × {height} 像素，{crop}",
    "crop-center": "保持比例，取短边 {share}% 的中央部分",
    "crop-squash": "不保持比例，取中央 {share}%",
    grey: "转为灰度",
    normalised: "均值 {mean}，标准差 {std}",
    "mean-image": "减去均值图像",
    background: "透明部分置于 {colour} 之上",
    temperature: "温度",
    "not-calibrated": "1，未校准",
    fingerprint: "SHA-256",
    report: "训练报告",
    "token-title": "此服务需要令牌",
    "token-wrong": "令牌未被接受",
    "token-why": "请向启动服务的人索取。",
    token: "令牌",
    "go-on": "继续",
    "no-token": "此服务只回答持有令牌的人。请重新加载页面以输入令牌。",
    "no-picture": "这不是图片。请使用 JPEG、PNG、WebP、GIF 或 BMP 文件。",
    unreadable: "无法读取文件。请重新选择。",
    undecodable: "浏览器无法解码。请使用 JPEG、PNG、WebP、GIF 或 BMP 文件。",
    "too-large": "图片有 {pixels} 百万像素，最多 {most} 百万。请缩小图片。",
    unreachable: "无法连接 {host}。请检查服务是否在运行。",
    "too-busy": "服务一直繁忙。请稍候。",
    told: "被拒绝：{problem}。解决办法：{fix}。",
    status: "服务返回状态 {status}。",
    damaged: "{file} 与导出时不一致。请重新加载页面。",
    missing: "无法加载 {file}。请检查网站是否完整。",
    crashed: "模型无法在此运行：{reason}",
  },
};

const NARROW_SPACE = "\u202f"; // one that does not break
const OTHER = { en: "zh", zh: "en" };
const NAMES = { en: "English", zh: "中文" };

let language = preferred();

function preferred() {
  return (navigator.language ?? "en").toLowerCase().startsWith("zh") ? "zh" : "en";
}

function shown(value) {
  if (Array.isArray(value)) {
    return new Intl.ListFormat(language, { type: "conjunction" }).format(value);
  }
  return typeof value === "number" ? value.toLocaleString(language) : String(value);
}

/** A fraction in percent. */
export function percent(fraction) {
  return `${(100 * fraction).toFixed(1)}${language === "zh" ? "" : NARROW_SPACE}%`;
}

/** What a key says now; values that are words themselves are given as {word, values}. */
export function word(key, values = {}) {
  return WORDS[language][key].replace(/\{(\w+)(%?)\}/g, (_, name, share) => {
    const value = values[name];
    if (share) return percent(value);
    return value?.word ? word(value.word, value.values) : shown(value);
  });
}

const told = new WeakMap();

/** Have an element say this, in whichever language is chosen later, too. */
export function tell(element, key, values = {}) {
  element.dataset.word = key;
  told.set(element, values);
  element.textContent = word(key, values);
  return element;
}

/** The same for an attribute that is read aloud. */
export function label(element, attribute, key, values = {}) {
  element.dataset.labelled = attribute;
  element.dataset.label = key;
  told.set(element, values);
  element.setAttribute(attribute, word(key, values));
  return element;
}

/** Say all of the page in the chosen language; ``other`` changes it first. */
export function speak({ other = false } = {}) {
  if (other) language = OTHER[language];
  document.documentElement.lang = language === "zh" ? "zh-Hans" : "en";
  for (const element of document.querySelectorAll("[data-word]")) {
    element.textContent = word(element.dataset.word, told.get(element));
  }
  for (const element of document.querySelectorAll("[data-label]")) {
    const { labelled, label: key } = element.dataset;
    element.setAttribute(labelled, word(key, told.get(element)));
  }
  return { code: OTHER[language], name: NAMES[OTHER[language]] };
}
